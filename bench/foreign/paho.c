// Paho C, the asynchronous client (MQTTAsync), with the window as its in-flight limit and room for what waits.
#include "driver.h"
#include <MQTTAsync.h>

static MQTTAsync client;
static sem_t opened;

static void connected(void *data, char *cause) {
	(void)data; (void)cause;
	sem_post(&opened);
}

static void refused(void *data, MQTTAsync_failureData *why) {
	(void)data;
	if (!job.again) fail("connect", why ? why->code : 0);
}

static void refused5(void *data, MQTTAsync_failureData5 *why) {
	(void)data;
	if (!job.again) fail("connect", why ? why->code : 0);
}

static void told(void *counts, MQTTAsync_successData *data) {
	(void)data;
	sem_post(&room);
	if (counts) acknowledged();
}

static void told5(void *counts, MQTTAsync_successData5 *data) {
	(void)data;
	sem_post(&room);
	if (counts) acknowledged();
}

static int arrived(void *data, char *topic, int length, MQTTAsync_message *came) {
	(void)data; (void)length;
	message(came->payload, came->payloadlen);
	MQTTAsync_freeMessage(&came);
	MQTTAsync_free(topic);
	return 1;
}

static void open_client(void) {
	char uri[96];
	int five = job.version == 5, code;
	snprintf(uri, sizeof uri, "tcp://%s:%d", job.host, job.port);
	MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer5;
	if (!five) create.MQTTVersion = MQTTVERSION_3_1_1;
	create.sendWhileDisconnected = job.again;
	// Those in flight count, too; and more in its queue than in its window make it sleep up to a second.
	create.maxBufferedMessages = is("offline") ? (int)job.count + 1000 : 1000000;
	sem_init(&room, 0, job.window);
	code = MQTTAsync_createWithOptions(&client, uri, "bench", MQTTCLIENT_PERSISTENCE_NONE, NULL, &create);
	if (code) fail("create", code);
	MQTTAsync_setCallbacks(client, NULL, NULL, arrived, NULL);
	MQTTAsync_setConnected(client, NULL, connected);
	MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
	MQTTAsync_connectOptions options5 = MQTTAsync_connectOptions_initializer5;
	MQTTProperties properties = MQTTProperties_initializer;
	if (five) options = options5;
	if (five && !job.plain) {
		MQTTProperty most = {.identifier = MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, .value.integer2 = job.window};
		MQTTProperties_add(&properties, &most);
	}
	if (five && is("kill")) {
		MQTTProperty kept = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, .value.integer4 = 3600};
		MQTTProperties_add(&properties, &kept);
	}
	if (five) options.connectProperties = &properties;
	if (five) options.cleanstart = !is("kill");
	else options.cleansession = !is("kill");
	options.keepAliveInterval = job.keep_alive;
	if (!job.plain) options.maxInflight = job.window;
	if (five) options.onFailure5 = refused5;
	else options.onFailure = refused;
	// Whole seconds are its unit.
	options.automaticReconnect = job.again;
	options.minRetryInterval = options.maxRetryInterval = 1;
	sem_init(&opened, 0, 0);
	if ((code = MQTTAsync_connect(client, &options))) fail("connect", code);
	sem_wait(&opened);
}

static int publish(const char *topic, int qos, const char *payload, long size) {
	MQTTAsync_responseOptions answer = MQTTAsync_responseOptions_initializer;
	if (job.version == 5) answer.onSuccess5 = told5;
	else answer.onSuccess = told;
	answer.context = qos ? &done : NULL;
	return MQTTAsync_send(client, topic, (int)size, payload, qos, 0, &answer);
}

static void subscribe(const char *filter, int qos) {
	MQTTAsync_responseOptions answer = MQTTAsync_responseOptions_initializer;
	int code = MQTTAsync_subscribe(client, filter, qos, &answer);
	if (code) fail("subscribe", code);
}
