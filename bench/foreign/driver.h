// What the drivers in C have in common: the flags of `bench drive`, the clock, the line of figures.
#ifndef DRIVER_H
#define DRIVER_H
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define TOPIC "bench/one/two/three"
#define ECHO "echo/one/two/three"
#define WARM_UP 200

static struct {
	char host[64];
	int port, version, qos, window, channel, plain, again, keep_alive;
	long count, size, pause;
	double limit;
	const char *mode;
} job = {"127.0.0.1", 1883, 5, 0, 100, 1000, 0, 0, 60, 100000, 256, 0, 10, "publish"};

static atomic_long acks, messages;
static long wanted_acks = -1, wanted_messages = -1;
static sem_t done, room;
static uint64_t *trips;

static uint64_t nanos(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double cpu_micros(void) {
	struct rusage use;
	getrusage(RUSAGE_SELF, &use);
	return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 + use.ru_utime.tv_usec + use.ru_stime.tv_usec;
}

static long resident(void) {
	FILE *file = fopen("/proc/self/statm", "r");
	long all = 0, now = 0;
	if (file) {
		if (fscanf(file, "%ld %ld", &all, &now) != 2) now = 0;
		fclose(file);
	}
	return now * sysconf(_SC_PAGESIZE);
}

static void fail(const char *what, int code) {
	fprintf(stderr, "%s: %d\n", what, code);
	exit(1);
}

static void acknowledged(void) {
	if (atomic_fetch_add(&acks, 1) + 1 == wanted_acks) sem_post(&done);
}

static void message(const void *payload, long size) {
	if (trips && size >= 8) {
		uint64_t sent;
		memcpy(&sent, payload, 8);
		trips[atomic_load(&messages)] = nanos() - sent;
	}
	if (size != job.size) return;
	if (atomic_fetch_add(&messages, 1) + 1 == wanted_messages) sem_post(&done);
}

static void *watch(void *unused) {
	(void)unused;
	usleep((useconds_t)(job.limit * 1e6));
	long most = acks > messages ? acks : messages;
	printf("{\"stalled\":%ld,\"wanted\":%ld}\n", most, wanted_acks > 0 ? wanted_acks : wanted_messages);
	fflush(stdout);
	_exit(0);
}

static void limited(void) {
	pthread_t thread;
	pthread_create(&thread, NULL, watch, NULL);
}

static int before(const void *one, const void *other) {
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
	return (a > b) - (a < b);
}

static void print_trips(void) {
	uint64_t *all = trips + WARM_UP;
	qsort(all, job.count, sizeof *all, before);
	printf("{\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"p999_ms\":%.4f}\n", all[job.count / 2] / 1e6,
	       all[(long)(job.count * 0.99)] / 1e6, all[(long)(job.count * 0.999)] / 1e6);
}

static void read_flags(int count, char **words) {
	for (int at = 1; at < count; at++) {
		const char *name = words[at];
		if (!strcmp(name, "--plain")) { job.plain = 1; continue; }
		if (!strcmp(name, "--again")) { job.again = 1; continue; }
		if (at + 1 == count) continue;
		const char *value = words[++at];
		if (!strcmp(name, "--addr")) sscanf(value, "%63[^:]:%d", job.host, &job.port);
		else if (!strcmp(name, "--mode")) job.mode = value;
		else if (!strcmp(name, "--version")) job.version = atoi(value);
		else if (!strcmp(name, "--qos")) job.qos = atoi(value);
		else if (!strcmp(name, "--count")) job.count = atol(value);
		else if (!strcmp(name, "--size")) job.size = atol(value);
		else if (!strcmp(name, "--window")) job.window = atoi(value);
		else if (!strcmp(name, "--channel")) job.channel = atoi(value);
		else if (!strcmp(name, "--keep-alive")) job.keep_alive = atoi(value);
		else if (!strcmp(name, "--pause")) job.pause = atol(value);
		else if (!strcmp(name, "--limit")) job.limit = atof(value);
		else if (!strcmp(name, "--core")) {
			cpu_set_t set;
			CPU_ZERO(&set);
			CPU_SET(atoi(value), &set);
			sched_setaffinity(0, sizeof set, &set);
		}
	}
	sem_init(&done, 0, 0);
	sem_init(&room, 0, job.window + job.channel);
}

// What each library brings.
static void open_client(void);
static int publish(const char *topic, int qos, const char *payload, long size);
static void subscribe(const char *filter, int qos);

static int is(const char *mode) { return !strcmp(job.mode, mode); }

static char *payload_of(long number) {
	static _Thread_local char *bytes;
	if (!bytes) bytes = malloc(job.size + 32);
	memset(bytes, 'x', job.size);
	if (number >= 0) {
		int digits = sprintf(bytes, "%ld ", number);
		bytes[digits] = 'x';
	}
	return bytes;
}

static void pace(uint64_t *due) {
	*due += 1000000;
	struct timespec until = {*due / 1000000000, *due % 1000000000};
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void run_rates(void) {
	char topic[96];
	int publishes = is("publish");
	if (publishes) wanted_acks = job.qos ? job.count : 1;
	else wanted_messages = job.count;
	limited();
	open_client();
	double cpu = cpu_micros();
	uint64_t begun = nanos();
	if (publishes) {
		char *payload = payload_of(-1);
		for (long at = 0; at < job.count; at++) {
			sem_wait(&room);
			if (publish(TOPIC, job.qos, payload, job.size)) fail("publish", 1);
		}
		snprintf(topic, sizeof topic, "e/%ld", job.count);
		if (!job.qos) sem_wait(&room);
		if (!job.qos && publish(topic, 1, payload, job.size)) fail("publish", 2);
	} else {
		snprintf(topic, sizeof topic, "b/%d/%ld/%ld/%d", job.qos, job.count, job.size, job.window);
		subscribe(topic, job.qos);
	}
	sem_wait(&done);
	double elapsed = (nanos() - begun) / 1e9;
	printf("{\"rate\":%.0f,\"cpu_us\":%.4f,\"elapsed_s\":%.4f}\n", job.count / elapsed,
	       (cpu_micros() - cpu) / job.count, elapsed);
}

static void run_echo(void) {
	trips = calloc(job.count + WARM_UP + 1, sizeof *trips);
	wanted_messages = job.count + WARM_UP;
	limited();
	open_client();
	subscribe(ECHO, job.qos);
	char *payload = payload_of(-1);
	uint64_t due = nanos();
	for (long at = 0; at < wanted_messages; at++) {
		pace(&due);
		uint64_t now = nanos();
		memcpy(payload, &now, 8);
		publish(ECHO, job.qos, payload, job.size);
	}
	sem_wait(&done);
	print_trips();
}

static void run_offline(void) {
	char line[64];
	open_client();
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin)) fail("no word", 0);
	long before_all = resident(), accepted = 0;
	uint64_t begun = nanos();
	while (accepted < job.count && nanos() - begun < job.limit * 1e9) {
		if (publish(TOPIC, 1, payload_of(accepted), job.size)) break;
		accepted++;
	}
	double seconds = (nanos() - begun) / 1e9;
	printf("{\"accepted\":%ld,\"seconds\":%.4f,\"each\":%.0f}\n", accepted, seconds,
	       accepted ? (double)(resident() - before_all) / accepted : 0.0);
	fflush(stdout);
	for (;;) pause();
}

static void run_on(void) {
	open_client();
	puts("ready");
	fflush(stdout);
	uint64_t due = nanos();
	for (long at = 0; is("trickle") || at < job.count; at++) {
		if (is("trickle")) pace(&due);
		else sem_wait(&room);
		while (publish(TOPIC, is("trickle") ? 1 : job.qos, payload_of(at), job.size)) usleep(1000);
	}
	for (;;) pause();
}

int main(int count, char **words) {
	read_flags(count, words);
	if (is("publish") || is("receive")) run_rates();
	else if (is("echo")) run_echo();
	else if (is("offline")) run_offline();
	else if (is("trickle") || is("kill")) run_on();
	else fail("this driver has no such mode", 0);
	fflush(stdout);
	_exit(0);
}
#endif
