// paho.mqtt.golang as Debian has it (1.1.1), at 3.1.1: the flags of `bench drive`, one line of figures.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	topic  = "bench/one/two/three"
	echo   = "echo/one/two/three"
	warmUp = 200
)

var (
	addr      = flag.String("addr", "127.0.0.1:1883", "")
	mode      = flag.String("mode", "publish", "")
	_         = flag.Int("version", 4, "")
	qos       = flag.Int("qos", 0, "")
	count     = flag.Int64("count", 100000, "")
	size      = flag.Int("size", 256, "")
	window    = flag.Int("window", 100, "")
	channel   = flag.Int("channel", 1000, "")
	_         = flag.Bool("plain", false, "")
	again     = flag.Bool("again", false, "")
	pause     = flag.Int("pause", 0, "")
	limit     = flag.Float64("limit", 10, "")
	seconds   = flag.Float64("seconds", 10, "")
	keepAlive = flag.Int("keep-alive", 60, "")
	core      = flag.Int("core", -1, "")
	_         = flag.String("runtime", "", "")

	origin   = time.Now()
	acks     int64
	messages int64
	done     = make(chan struct{}, 4)
	wanted   int64
	trips    []int64
)

func cpu() float64 {
	var use syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return float64(use.Utime.Sec+use.Stime.Sec)*1e6 + float64(use.Utime.Usec+use.Stime.Usec)
}

func resident() int64 {
	var all, now int64
	file, err := os.Open("/proc/self/statm")
	if err != nil {
		return 0
	}
	defer file.Close()
	fmt.Fscan(file, &all, &now)
	return now * int64(os.Getpagesize())
}

func watch() {
	time.Sleep(time.Duration(*limit * float64(time.Second)))
	most := atomic.LoadInt64(&acks)
	if other := atomic.LoadInt64(&messages); other > most {
		most = other
	}
	fmt.Printf("{\"stalled\":%d,\"wanted\":%d}\n", most, wanted)
	os.Exit(0)
}

func fail(why error) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}

func received(_ mqtt.Client, message mqtt.Message) {
	payload := message.Payload()
	if trips != nil {
		sent := int64(binary.LittleEndian.Uint64(payload))
		trips = append(trips, int64(time.Since(origin))-sent)
	}
	if len(payload) == *size && atomic.AddInt64(&messages, 1) == wanted {
		done <- struct{}{}
	}
}

func open(id string) mqtt.Client {
	options := mqtt.NewClientOptions()
	options.AddBroker("tcp://" + *addr)
	options.SetClientID(id)
	options.SetProtocolVersion(4)
	options.SetKeepAlive(time.Duration(*keepAlive) * time.Second)
	options.SetCleanSession(*mode != "kill")
	options.SetAutoReconnect(*again)
	options.SetMessageChannelDepth(uint(*window + *channel))
	if *pause > 0 {
		options.SetMaxReconnectInterval(time.Duration(*pause) * time.Millisecond)
	}
	client := mqtt.NewClient(options)
	token := client.Connect()
	if token.Wait(); token.Error() != nil {
		fail(token.Error())
	}
	return client
}

func numbered(number int64) []byte {
	text := fmt.Sprintf("%d ", number)
	if len(text) < *size {
		text += strings.Repeat("x", *size-len(text))
	}
	return []byte(text)
}

// Waits for the tokens in order; as many may be open as the window lets through.
func awaiting(room int) chan mqtt.Token {
	tokens := make(chan mqtt.Token, room)
	go func() {
		for token := range tokens {
			token.Wait()
			if token.Error() != nil && !*again {
				fail(token.Error())
			}
			if atomic.AddInt64(&acks, 1) == wanted {
				done <- struct{}{}
			}
		}
	}()
	return tokens
}

func rates() {
	wanted = *count
	go watch()
	client := open("bench")
	var tokens chan mqtt.Token
	if *mode == "publish" {
		if *qos == 0 {
			wanted = *count + 1
		}
		tokens = awaiting(*window)
	}
	used, begun := cpu(), time.Now()
	if *mode == "publish" {
		payload := []byte(strings.Repeat("x", *size))
		for at := int64(0); at < *count; at++ {
			tokens <- client.Publish(topic, byte(*qos), false, payload)
		}
		if *qos == 0 {
			tokens <- client.Publish(fmt.Sprintf("e/%d", *count), 1, false, payload)
		}
	} else {
		order := fmt.Sprintf("b/%d/%d/%d/%d", *qos, *count, *size, *window)
		client.Subscribe(order, byte(*qos), received)
	}
	<-done
	elapsed := time.Since(begun).Seconds()
	fmt.Printf("{\"rate\":%.0f,\"cpu_us\":%.4f,\"elapsed_s\":%.4f}\n", float64(*count)/elapsed,
		(cpu()-used)/float64(*count), elapsed)
}

func roundTrips() {
	wanted = *count + warmUp
	trips = make([]int64, 0, wanted)
	go watch()
	client := open("bench")
	token := client.Subscribe(echo, byte(*qos), received)
	token.Wait()
	due := time.Now()
	for at := int64(0); at < wanted; at++ {
		due = due.Add(time.Millisecond)
		time.Sleep(time.Until(due))
		payload := []byte(strings.Repeat("x", *size))
		binary.LittleEndian.PutUint64(payload, uint64(time.Since(origin)))
		client.Publish(echo, byte(*qos), false, payload)
	}
	<-done
	all := trips[warmUp:]
	sort.Slice(all, func(one, other int) bool { return all[one] < all[other] })
	at := func(share float64) float64 { return float64(all[int(float64(len(all))*share)]) / 1e6 }
	fmt.Printf("{\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"p999_ms\":%.4f}\n", at(0.5), at(0.99), at(0.999))
}

func offline() {
	client := open("bench")
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	before, begun := resident(), time.Now()
	var accepted int64
	told := make(chan struct{}, 1)
	go func() {
		for atomic.LoadInt64(&accepted) < *count {
			client.Publish(topic, 1, false, numbered(accepted))
			atomic.AddInt64(&accepted, 1)
		}
		told <- struct{}{}
	}()
	select {
	case <-told:
	case <-time.After(time.Duration(*limit * float64(time.Second))):
	}
	took, taken := time.Since(begun).Seconds(), atomic.LoadInt64(&accepted)
	each := float64(0)
	if taken > 0 {
		each = float64(resident()-before) / float64(taken)
	}
	fmt.Printf("{\"accepted\":%d,\"seconds\":%.4f,\"each\":%.0f}\n", taken, took, each)
	select {}
}

func goOn() {
	client := open("bench")
	fmt.Println("ready")
	tokens := awaiting(*window)
	due := time.Now()
	for at := int64(0); *mode == "trickle" || at < *count; at++ {
		level := byte(*qos)
		if *mode == "trickle" {
			level = 1
			due = due.Add(time.Millisecond)
			time.Sleep(time.Until(due))
		}
		token := client.Publish(topic, level, false, numbered(at))
		if *mode == "kill" {
			tokens <- token
		}
	}
	select {}
}

func idle() {
	before := resident()
	var held []mqtt.Client
	for at := int64(0); at < *count; at++ {
		held = append(held, open(fmt.Sprintf("idle-%d", at)))
	}
	time.Sleep(time.Second)
	each := float64(resident()-before) / float64(*count)
	used := cpu()
	time.Sleep(time.Duration(*seconds * float64(time.Second)))
	fmt.Printf("{\"bytes_each\":%.0f,\"cpu_us_s\":%.4f}\n", each, (cpu()-used)/float64(len(held))/(*seconds))
}

func main() {
	flag.Parse()
	if *core >= 0 {
		var set [16]uint64
		set[*core/64] = 1 << (uint(*core) % 64)
		stay(&set)
	}
	switch *mode {
	case "publish", "receive":
		rates()
	case "echo":
		roundTrips()
	case "offline":
		offline()
	case "trickle", "kill":
		goOn()
	case "idle":
		idle()
	}
	os.Exit(0)
}
