/* Preloaded before every other library: writes down who looks up a host or speaks to another
   machine, and refuses. Sockets between local processes are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void record(const char *call, const char *detail) {
  const char *path = getenv("SAMEDGE_TEST_NETLOG");
  int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0644) : -1;
  if (file < 0) return;
  dprintf(file, "%s %s\n", call, detail ? detail : "-");
  close(file);
}

static int is_internet(const struct sockaddr *address) {
  return address && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
  record("getaddrinfo", name);
  return EAI_FAIL;
}

struct hostent *gethostbyname(const char *name) {
  record("gethostbyname", name);
  h_errno = NO_RECOVERY;
  return NULL;
}

int connect(int socket, const struct sockaddr *address, socklen_t length) {
  if (is_internet(address)) {
    record("connect", NULL);
    errno = ENETUNREACH;
    return -1;
  }
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  return real(socket, address, length);
}

ssize_t sendto(int socket, const void *data, size_t size, int flags,
               const struct sockaddr *address, socklen_t length) {
  if (is_internet(address)) {
    record("sendto", NULL);
    errno = ENETUNREACH;
    return -1;
  }
  ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) =
      dlsym(RTLD_NEXT, "sendto");
  return real(socket, data, size, flags, address, length);
}
