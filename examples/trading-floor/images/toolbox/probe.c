/*
 * What the demo's containers try, told exactly: one connection, a sweep over a network, or packets with a forged source.
 *
 *   probe tcp HOST PORT [TIMEOUT_MS]           one connect(); prints how it ended and after how long
 *   probe sweep CIDR PORT[,PORT...] [TIMEOUT_MS]  every address and port at once; prints what answered
 *   probe forge SOURCE DESTINATION PORT COUNT     raw SYNs that claim to come from SOURCE (needs CAP_NET_RAW)
 *
 * Exit: 0 connected (tcp), something answered (sweep), sent (forge); 1 otherwise; 2 wrong use.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { timeout_ms_default = 2000, attempts_max = 8192, ports_max = 64, forged_max = 10000 };

static double now_ms(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e3 + at.tv_nsec / 1e6;
}

static int begin_connect(const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, address, length) < 0 && errno != EINPROGRESS) {
		int failed = errno;
		close(fd);
		errno = failed;
		return -1;
	}
	return fd;
}

static const char *outcome_of(int error)
{
	switch (error) {
	case 0: return "connected";
	case ECONNREFUSED: return "refused";
	case EHOSTUNREACH: case ENETUNREACH: case EACCES: return "unreachable";
	case ETIMEDOUT: return "timed-out";
	default: return strerror(error);
	}
}

static int try_tcp(const char *host, const char *port, int timeout_ms)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int failed = getaddrinfo(host, port, &hints, &found);
	if (failed != 0) {
		printf("no-such-name 0.00 ms (%s)\n", gai_strerror(failed));
		return 1;
	}
	double began = now_ms();
	int error = 0;
	int fd = begin_connect(found->ai_addr, found->ai_addrlen);
	if (fd < 0) {
		error = errno;
	} else {
		struct pollfd waiting = { .fd = fd, .events = POLLOUT };
		if (poll(&waiting, 1, timeout_ms) == 0) {
			error = ETIMEDOUT;
		} else {
			socklen_t size = sizeof(error);
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
		}
	}
	printf("%s %.2f ms\n", outcome_of(error), now_ms() - began);
	freeaddrinfo(found);
	return error == 0 ? 0 : 1;
}

static int parse_ports(char *text, uint16_t *ports)
{
	int count = 0;
	for (char *each = strtok(text, ","); each != NULL && count < ports_max; each = strtok(NULL, ","))
		ports[count++] = (uint16_t)atoi(each);
	return count;
}

static int sweep(char *cidr, char *port_list, int timeout_ms)
{
	static struct pollfd waiting[attempts_max];
	static struct sockaddr_in targets[attempts_max];
	uint16_t ports[ports_max];
	int port_count = parse_ports(port_list, ports);
	char *slash = strchr(cidr, '/');
	int bits = slash == NULL ? 32 : atoi(slash + 1);
	if (slash != NULL)
		*slash = 0;
	struct in_addr network;
	if (inet_pton(AF_INET, cidr, &network) != 1 || bits < 16 || bits > 32 || port_count == 0)
		return 2;
	uint32_t hosts = bits == 32 ? 1 : (1u << (32 - bits));
	int count = 0, connected = 0, refused = 0, silent = 0;
	for (uint32_t host = 0; host < hosts; host++) {
		for (int index = 0; index < port_count && count < attempts_max; index++) {
			struct sockaddr_in *target = &targets[count];
			target->sin_family = AF_INET;
			target->sin_port = htons(ports[index]);
			target->sin_addr.s_addr = htonl(ntohl(network.s_addr) + host);
			int fd = begin_connect((struct sockaddr *)target, sizeof(*target));
			waiting[count++] = (struct pollfd){ .fd = fd, .events = POLLOUT };
		}
	}
	double until = now_ms() + timeout_ms;
	for (int open = count; open > 0;) {
		int left = (int)(until - now_ms());
		if (left <= 0 || poll(waiting, count, left) <= 0)
			break;
		open = 0;
		for (int index = 0; index < count; index++) {
			if (waiting[index].fd < 0)
				continue;
			if (waiting[index].revents == 0) {
				open++;
				continue;
			}
			int error = 0;
			socklen_t size = sizeof(error);
			getsockopt(waiting[index].fd, SOL_SOCKET, SO_ERROR, &error, &size);
			char text[INET_ADDRSTRLEN];
			inet_ntop(AF_INET, &targets[index].sin_addr, text, sizeof(text));
			if (error == 0) {
				connected++;
				printf("connected %s:%d\n", text, ntohs(targets[index].sin_port));
			} else if (error == ECONNREFUSED) {
				refused++;
				printf("refused %s:%d\n", text, ntohs(targets[index].sin_port));
			}
			close(waiting[index].fd);
			waiting[index].fd = -1;
		}
	}
	silent = count - connected - refused;
	printf("tried %d, connected %d, refused %d, silent %d\n", count, connected, refused, silent);
	return connected > 0 ? 0 : 1;
}

static uint16_t checksum(const void *data, size_t length, uint32_t sum)
{
	const uint8_t *bytes = data;
	for (; length > 1; bytes += 2, length -= 2)
		sum += (uint32_t)bytes[0] << 8 | bytes[1];
	if (length == 1)
		sum += (uint32_t)bytes[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static int forge(const char *source, const char *destination, int port, int count)
{
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} __attribute__((packed)) packet;
	struct { uint32_t source, destination; uint8_t zero, protocol; uint16_t length; } pseudo;
	struct sockaddr_in target = { .sin_family = AF_INET };
	struct in_addr from;
	if (inet_pton(AF_INET, source, &from) != 1 || inet_pton(AF_INET, destination, &target.sin_addr) != 1 || count > forged_max)
		return 2;
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0) {
		printf("no raw socket: %s\n", strerror(errno));
		return 1;
	}
	int sent = 0, failed = 0;
	for (int index = 0; index < count; index++) {
		memset(&packet, 0, sizeof(packet));
		packet.ip.version = 4;
		packet.ip.ihl = 5;
		packet.ip.ttl = 64;
		packet.ip.protocol = IPPROTO_TCP;
		packet.ip.tot_len = htons(sizeof(packet));
		packet.ip.id = htons((uint16_t)(index + 1));
		packet.ip.saddr = from.s_addr;
		packet.ip.daddr = target.sin_addr.s_addr;
		packet.ip.check = checksum(&packet.ip, sizeof(packet.ip), 0);
		packet.tcp.source = htons((uint16_t)(20000 + index));
		packet.tcp.dest = htons((uint16_t)port);
		packet.tcp.seq = htonl(0x1000u + (uint32_t)index);
		packet.tcp.doff = 5;
		packet.tcp.syn = 1;
		packet.tcp.window = htons(64240);
		pseudo.source = from.s_addr;
		pseudo.destination = target.sin_addr.s_addr;
		pseudo.zero = 0;
		pseudo.protocol = IPPROTO_TCP;
		pseudo.length = htons(sizeof(packet.tcp));
		uint32_t sum = 0;
		const uint8_t *bytes = (const uint8_t *)&pseudo;
		for (size_t at = 0; at < sizeof(pseudo); at += 2)
			sum += (uint32_t)bytes[at] << 8 | bytes[at + 1];
		packet.tcp.check = checksum(&packet.tcp, sizeof(packet.tcp), sum);
		if (sendto(fd, &packet, sizeof(packet), 0, (struct sockaddr *)&target, sizeof(target)) == sizeof(packet))
			sent++;
		else
			failed++;
	}
	printf("sent %d, failed %d\n", sent, failed);
	return sent > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	int code = 2;
	if (argc >= 4 && strcmp(argv[1], "tcp") == 0)
		code = try_tcp(argv[2], argv[3], argc > 4 ? atoi(argv[4]) : timeout_ms_default);
	else if (argc >= 4 && strcmp(argv[1], "sweep") == 0)
		code = sweep(argv[2], argv[3], argc > 4 ? atoi(argv[4]) : timeout_ms_default);
	else if (argc == 6 && strcmp(argv[1], "forge") == 0)
		code = forge(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
	if (code == 2)
		fprintf(stderr, "usage: probe tcp HOST PORT [MS] | sweep CIDR PORTS [MS] | forge SOURCE DESTINATION PORT COUNT\n");
	return code;
}
