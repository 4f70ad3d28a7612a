/*
 * TCP load for the benchmarks: one server, five clients.
 *
 *   load serve PORT [PORTS]               echoes what it reads; bytes of a stream are read and thrown away when they start with 'S'
 *   load rr IP PORT SECONDS               1-byte ping-pong over one connection
 *   load crr IP PORT SECONDS              connect, 1-byte ping-pong, close
 *   load stream IP PORT SECONDS           one-way throughput
 *   load connect IP PORT SECONDS WIDTH    WIDTH connects under way at once, each closed by reset when it stands
 *   load spread IP PORT SECONDS WIDTH     the same, each of them to a port of its own: PORT, PORT + 1, …; no two that are under way are alike
 *
 * A client prints one line of JSON: operations (or bytes) per second, failures, and percentiles of an operation in microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES_MAX = 4000000, EVENTS_MAX = 256, DESCRIPTORS_MAX = 65536, STREAM_BYTES = 131072, FAILURES_MAX = 100000, PORTS_MAX = 1024 };

static float *samples;
static long sample_count, operations, failures;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void sample(double seconds)
{
	operations++;
	if (sample_count < SAMPLES_MAX)
		samples[sample_count++] = seconds * 1e6;
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return x < y ? -1 : x > y;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void report(double seconds, double rate)
{
	qsort(samples, sample_count, sizeof *samples, by_value);
	double p50 = sample_count ? samples[sample_count / 2] : 0, p99 = sample_count ? samples[sample_count * 99 / 100] : 0;
	printf("{\"rate\":%.1f,\"operations\":%ld,\"failures\":%ld,\"seconds\":%.3f,\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f}\n", rate, operations,
	       failures, seconds, p50, p99, sample_count ? samples[sample_count - 1] : 0);
}

static int open_socket(const struct sockaddr_storage *to, int flags)
{
	int one = 1, s = socket(to->ss_family, SOCK_STREAM | flags, 0);
	if (s < 0)
		die("socket");
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return s;
}

static socklen_t parse(const char *ip, int port, struct sockaddr_storage *to)
{
	struct sockaddr_in *four = (void *)to;
	struct sockaddr_in6 *six = (void *)to;
	memset(to, 0, sizeof *to);
	if (inet_pton(AF_INET, ip, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return sizeof *four;
	}
	if (inet_pton(AF_INET6, ip, &six->sin6_addr) != 1) {
		fprintf(stderr, "load: %s is no address\n", ip);
		exit(2);
	}
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return sizeof *six;
}

static int listen_on(int port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int one = 1, listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (listener < 0) { /* IPv6 is off in this namespace */
		struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(port)};
		listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(listener, (void *)&any4, sizeof any4))
			die("bind");
	} else {
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(listener, (void *)&any, sizeof any))
			die("bind");
	}
	if (listen(listener, 4096))
		die("listen");
	return listener;
}

static void serve(int port, int ports)
{
	static char buffer[STREAM_BYTES], streaming[DESCRIPTORS_MAX], listening[DESCRIPTORS_MAX];
	struct epoll_event event = {.events = EPOLLIN}, events[EVENTS_MAX];
	int one = 1, poll = epoll_create1(0);
	for (int i = 0; i < ports; i++) {
		event.data.fd = listen_on(port + i);
		listening[event.data.fd] = 1;
		epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event);
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(poll, events, EVENTS_MAX, -1);
		for (int i = 0; i < count; i++) {
			int from = events[i].data.fd, accepted;
			if (listening[from]) {
				while ((accepted = accept4(from, 0, 0, SOCK_NONBLOCK)) >= 0) {
					if (accepted >= DESCRIPTORS_MAX) {
						close(accepted);
						continue;
					}
					streaming[accepted] = 0;
					setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
					event.data.fd = accepted;
					epoll_ctl(poll, EPOLL_CTL_ADD, accepted, &event);
				}
				continue;
			}
			ssize_t length = read(from, buffer, streaming[from] ? sizeof buffer : 4096);
			if (length < 0 && errno == EAGAIN)
				continue;
			if (length <= 0) {
				close(from);
				continue;
			}
			if (buffer[0] == 'S')
				streaming[from] = 1;
			if (!streaming[from] && write(from, buffer, length) != length)
				close(from);
		}
	}
}

static void ping_pong(const struct sockaddr_storage *to, socklen_t length, double seconds)
{
	char byte = 1;
	int s = open_socket(to, 0);
	if (connect(s, (void *)to, length))
		die("connect");
	double start = now(), end = start + seconds, at;
	while ((at = now()) < end) {
		if (write(s, &byte, 1) != 1 || read(s, &byte, 1) != 1)
			die("ping-pong");
		sample(now() - at);
	}
	report(now() - start, operations / (now() - start));
}

static void connect_request_close(const struct sockaddr_storage *to, socklen_t length, double seconds)
{
	char byte = 1;
	double start = now(), end = start + seconds, at;
	while ((at = now()) < end && failures < FAILURES_MAX) {
		int s = open_socket(to, 0);
		if (connect(s, (void *)to, length) || write(s, &byte, 1) != 1 || read(s, &byte, 1) != 1) {
			failures++;
			close(s);
			continue;
		}
		close(s);
		sample(now() - at);
	}
	report(now() - start, operations / (now() - start));
}

static void stream(const struct sockaddr_storage *to, socklen_t length, double seconds)
{
	static char buffer[STREAM_BYTES];
	memset(buffer, 'S', sizeof buffer);
	int s = open_socket(to, 0);
	if (connect(s, (void *)to, length))
		die("connect");
	double start = now(), end = start + seconds, bytes = 0;
	while (now() < end) {
		ssize_t sent = write(s, buffer, sizeof buffer);
		if (sent < 0)
			die("write");
		bytes += sent;
		operations++;
	}
	report(now() - start, bytes / (now() - start));
}

/* A slot is a connect under way. With `spread` each slot has a port of its own. */
static void connect_wide(struct sockaddr_storage *to, socklen_t length, double seconds, int width, int spread)
{
	static double started[DESCRIPTORS_MAX];
	static int slot_of[DESCRIPTORS_MAX], free_slots[PORTS_MAX];
	struct linger reset = {1, 0};
	struct epoll_event event = {.events = EPOLLOUT}, events[EVENTS_MAX];
	in_port_t *port = to->ss_family == AF_INET ? &((struct sockaddr_in *)to)->sin_port : &((struct sockaddr_in6 *)to)->sin6_port;
	int poll = epoll_create1(0), free_count = width, first = ntohs(*port);
	for (int i = 0; i < width; i++)
		free_slots[i] = i;
	double start = now(), end = start + seconds;
	while (now() < end && failures < FAILURES_MAX) {
		while (free_count > 0) {
			int s = open_socket(to, SOCK_NONBLOCK), slot = free_slots[free_count - 1];
			if (spread)
				*port = htons(first + slot);
			setsockopt(s, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
			double at = now(); /* the handshake may be over when connect() returns */
			if (s >= DESCRIPTORS_MAX || (connect(s, (void *)to, length) && errno != EINPROGRESS)) {
				failures++;
				close(s);
				break;
			}
			started[s] = at;
			slot_of[s] = slot;
			event.data.fd = s;
			epoll_ctl(poll, EPOLL_CTL_ADD, s, &event);
			free_count--;
		}
		int count = epoll_wait(poll, events, EVENTS_MAX, 100);
		for (int i = 0; i < count; i++) {
			int s = events[i].data.fd, error = 0;
			socklen_t size = sizeof error;
			getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &size);
			if (error)
				failures++;
			else
				sample(now() - started[s]);
			close(s);
			free_slots[free_count++] = slot_of[s];
		}
	}
	report(now() - start, operations / (now() - start));
}

int main(int count, char **arguments)
{
	struct sockaddr_storage to;
	signal(SIGPIPE, SIG_IGN);
	if ((count == 3 || count == 4) && !strcmp(arguments[1], "serve"))
		serve(atoi(arguments[2]), count == 4 ? atoi(arguments[3]) : 1);
	int width = count == 6 ? atoi(arguments[5]) : 1;
	if (count < 5 || width < 1 || width > PORTS_MAX) {
		fprintf(stderr, "usage: load serve PORT [PORTS] | load rr|crr|stream IP PORT SECONDS | load connect|spread IP PORT SECONDS WIDTH\n");
		return 2;
	}
	samples = malloc(SAMPLES_MAX * sizeof *samples);
	socklen_t length = parse(arguments[2], atoi(arguments[3]), &to);
	double seconds = atof(arguments[4]);
	if (!strcmp(arguments[1], "rr"))
		ping_pong(&to, length, seconds);
	else if (!strcmp(arguments[1], "crr"))
		connect_request_close(&to, length, seconds);
	else if (!strcmp(arguments[1], "stream"))
		stream(&to, length, seconds);
	else if (!strcmp(arguments[1], "connect") || !strcmp(arguments[1], "spread"))
		connect_wide(&to, length, seconds, width, !strcmp(arguments[1], "spread"));
	else
		return 2;
	return 0;
}
