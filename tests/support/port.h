#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sterna::tests {

/// A port of this host that nobody listens on, below those that outgoing connections are given.
inline int unused_port() {
  constexpr int kFirst = 10000;
  constexpr int kCount = 20000;
  static int tried = 0;
  for (;;) {
    // Tests that run side by side begin apart.
    const int port = kFirst + (static_cast<int>(getpid()) * 31 + tried++) % kCount;
    const int file = socket(AF_INET, SOCK_STREAM, 0);
    const int again = 1;
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &again, sizeof again);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<uint16_t>(port));
    name.sin_addr.s_addr = htonl(INADDR_ANY);
    const bool free =
        bind(file, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0 && listen(file, 1) == 0;
    close(file);
    if (free)
      return port;
  }
}

}  // namespace sterna::tests
