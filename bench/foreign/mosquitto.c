// libmosquitto with its own thread (mosquitto_loop_start), TCP_NODELAY and the window as its in-flight limits.
#include "driver.h"
#include <mosquitto.h>
#include <mqtt_protocol.h>

static struct mosquitto *client;
static sem_t opened;

static void on_connect(struct mosquitto *one, void *data, int code) {
	(void)one; (void)data;
	if (code) fail("connect", code);
	sem_post(&opened);
}

static void on_publish(struct mosquitto *one, void *data, int id) {
	(void)one; (void)data; (void)id;
	// At QoS 0 it means written; the one QoS 1 message behind them is the last that is told.
	sem_post(&room);
	if (!is("publish") || job.qos) acknowledged();
	else if (atomic_fetch_add(&acks, 1) == job.count) sem_post(&done);
}

static void on_message(struct mosquitto *one, void *data, const struct mosquitto_message *came) {
	(void)one; (void)data;
	message(came->payload, came->payloadlen);
}

static void open_client(void) {
	int five = job.version == 5;
	int clean = !is("kill");
	mosquitto_lib_init();
	client = mosquitto_new("bench", clean, NULL);
	mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION, five ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
	if (!job.plain) {
		mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
		mosquitto_int_option(client, MOSQ_OPT_RECEIVE_MAXIMUM, job.window);
		mosquitto_int_option(client, MOSQ_OPT_SEND_MAXIMUM, job.window);
	}
	// Whole seconds are its unit; zero is not taken for its default of one.
	mosquitto_reconnect_delay_set(client, job.again && job.pause < 1000 ? 0 : 1, 1, false);
	mosquitto_connect_callback_set(client, on_connect);
	mosquitto_publish_callback_set(client, on_publish);
	mosquitto_message_callback_set(client, on_message);
	sem_init(&opened, 0, 0);
	mosquitto_property *properties = NULL;
	if (five && !clean) mosquitto_property_add_int32(&properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL, 3600);
	int code = five ? mosquitto_connect_bind_v5(client, job.host, job.port, job.keep_alive, NULL, properties)
			: mosquitto_connect(client, job.host, job.port, job.keep_alive);
	if (code) fail("connect", code);
	if ((code = mosquitto_loop_start(client))) fail("loop", code);
	sem_wait(&opened);
}

static int publish(const char *topic, int qos, const char *payload, long size) {
	int code = mosquitto_publish(client, NULL, topic, (int)size, payload, qos, false);
	// Accepted all the same: it is queued until there is a link.
	return code && code != MOSQ_ERR_NO_CONN && code != MOSQ_ERR_CONN_LOST ? code : 0;
}

static void subscribe(const char *filter, int qos) {
	int code = mosquitto_subscribe(client, NULL, filter, qos);
	if (code) fail("subscribe", code);
}
