/* Sends TCP SYNs and UDP datagrams to ADDRESS PORT from its first instruction on, for MILLISECONDS. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static long now_ms(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
  if (argc != 4)
    return 2;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
  inet_pton(AF_INET, argv[1], &to.sin_addr);
  int udp = socket(AF_INET, SOCK_DGRAM, 0);
  for (long end = now_ms() + atoi(argv[3]); now_ms() < end;) {
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(tcp, (struct sockaddr *)&to, sizeof to);
    sendto(udp, "x", 1, 0, (struct sockaddr *)&to, sizeof to);
    close(tcp);
  }
  return 0;
}
