// paho.mqtt.golang as Debian has it (1.1.1), at 3.1.1, with automatic reconnection and its defaults.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

var (
	out     sync.Mutex
	blocked int32
)

func say(format string, words ...interface{}) {
	out.Lock()
	defer out.Unlock()
	fmt.Println(strings.ReplaceAll(fmt.Sprintf(format, words...), "\n", " "))
}

func payload(number, size int) string {
	text := strconv.Itoa(number) + " "
	if len(text) < size {
		text += strings.Repeat("x", size-len(text))
	}
	return text
}

func publish(client mqtt.Client, number, qos, size int, told bool) {
	token := client.Publish("gauntlet/t", byte(qos), false, payload(number, size))
	if told {
		say("taken %d", number)
	}
	go func() {
		token.Wait()
		if token.Error() != nil {
			say("failed %d %v", number, token.Error())
		} else {
			say("acked %d", number)
		}
	}()
}

func connect(words []int, id string) mqtt.Client {
	options := mqtt.NewClientOptions()
	options.AddBroker(fmt.Sprintf("tcp://127.0.0.1:%d", words[0]))
	options.SetClientID(id)
	options.SetProtocolVersion(4)
	options.SetKeepAlive(time.Duration(words[1]) * time.Second)
	options.SetCleanSession(words[2] == 1)
	options.SetAutoReconnect(true)
	if words[3] == 1 {
		options.SetMaxReconnectInterval(100 * time.Millisecond)
	}
	options.SetOnConnectHandler(func(mqtt.Client) { say("up") })
	options.SetConnectionLostHandler(func(_ mqtt.Client, why error) { say("down %v", why) })
	client := mqtt.NewClient(options)
	go func() {
		// 1.1.1 opens only a link again that was there once; the first is the application's to repeat.
		for {
			token := client.Connect()
			token.Wait()
			if token.Error() == nil {
				return
			}
			say("down %v", token.Error())
			time.Sleep(time.Second)
		}
	}()
	return client
}

func received(_ mqtt.Client, message mqtt.Message) {
	say("message %s", strings.SplitN(string(message.Payload()), " ", 2)[0])
	for atomic.LoadInt32(&blocked) == 1 {
		time.Sleep(time.Second)
	}
}

func burst(client mqtt.Client, from, count, qos, size, rate int) {
	begin := time.Now()
	for nth := 0; nth < count; nth++ {
		if rate > 0 {
			due := begin.Add(time.Duration(nth) * time.Second / time.Duration(rate))
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait)
			}
		}
		publish(client, from+nth, qos, size, false)
	}
	say("burst-taken %d %d", count, time.Since(begin).Milliseconds())
}

func main() {
	var client mqtt.Client
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Split(lines.Text(), " ")
		number := func(at int) int {
			value, _ := strconv.Atoi(words[at])
			return value
		}
		switch words[0] {
		case "connect":
			client = connect([]int{number(1), number(4), number(5), number(6)}, words[3])
		case "publish":
			go publish(client, number(1), number(2), number(3), true)
		case "burst":
			go burst(client, number(1), number(2), number(3), number(4), number(5))
		case "subscribe":
			go func(filter string, qos int) {
				token := client.Subscribe(filter, byte(qos), received)
				token.Wait()
				if token.Error() != nil {
					say("denied %s %v", filter, token.Error())
				} else {
					say("subscribed %s", filter)
				}
			}(words[2], number(1))
		case "block":
			atomic.StoreInt32(&blocked, 1)
		case "state":
			if client != nil && client.IsConnected() {
				say("state connected")
			} else {
				say("state disconnected")
			}
		case "close":
			go func(ms int) {
				client.Disconnect(uint(ms))
				say("closed")
			}(number(1))
		}
	}
}
