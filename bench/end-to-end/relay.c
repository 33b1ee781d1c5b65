// A bare relay, for comparison: what a broker costs that only reads and writes. The lines of every publisher are written to
// all subscribers. Writes block, so that a slow subscriber slows the publishers down.
//
// relay SOCKET

#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_PEERS = 1024, READ_SIZE = 256 * 1024, MAX_LINE = 128 * 1024 };

static const char SUBSCRIBE[] = "{\"type\":\"subscribe\"";
static const char SUBSCRIBED[] = "{\"type\":\"subscribed\"}\n";

// The first one is the listening socket.
static struct pollfd peers[MAX_PEERS];
static int count = 1;
static struct {
  int has_sent;
  int is_subscriber;
  // The incomplete line at the end of the latest read.
  int partial_size;
  char partial[MAX_LINE];
} states[MAX_PEERS];
static char buffer[MAX_LINE + READ_SIZE];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void write_all(int peer, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t written = write(peers[peer].fd, bytes, size);
    if (written <= 0) return;
    bytes += written;
    size -= written;
  }
}

static void relay(int peer) {
  int kept = states[peer].partial_size;
  memcpy(buffer, states[peer].partial, kept);
  ssize_t received = read(peers[peer].fd, buffer + kept, READ_SIZE);
  if (received <= 0) {
    close(peers[peer].fd);
    peers[peer].fd = -1;  // poll ignores it
    states[peer].is_subscriber = 0;
    return;
  }
  int size = kept + received;
  if (!states[peer].has_sent && size >= (int)sizeof SUBSCRIBE &&
      memcmp(buffer, SUBSCRIBE, sizeof SUBSCRIBE - 1) == 0) {
    states[peer].is_subscriber = 1;
    write_all(peer, SUBSCRIBED, sizeof SUBSCRIBED - 1);
    size = 0;
  }
  states[peer].has_sent = 1;
  char *newline = memrchr(buffer, '\n', size);
  int whole = newline == NULL ? 0 : newline + 1 - buffer;
  for (int other = 1; other < count; other++) {
    if (states[other].is_subscriber) write_all(other, buffer, whole);
  }
  if (size - whole > MAX_LINE) fail("a line is too long");
  states[peer].partial_size = size - whole;
  memcpy(states[peer].partial, buffer + whole, size - whole);
}

static void add(int descriptor) {
  if (descriptor < 0 || count == MAX_PEERS) fail("accept");
  peers[count++] = (struct pollfd){.fd = descriptor, .events = POLLIN};
}

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) return 64;
  strcpy(address.sun_path, argv[1]);
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(listener, 128) != 0) fail("listen");
  peers[0] = (struct pollfd){.fd = listener, .events = POLLIN};
  puts("listening");
  fflush(stdout);
  for (;;) {
    if (poll(peers, count, -1) < 0) fail("poll");
    int polled = count;
    if (peers[0].revents != 0) add(accept(listener, NULL, NULL));
    for (int peer = 1; peer < polled; peer++) {
      if (peers[peer].revents != 0) relay(peer);
    }
  }
}
