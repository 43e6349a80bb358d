// TCP: listeners and streams, by numeric addresses; connect.hpp connects by name. Loop thread only.
#pragma once

#include <sapwood/listener.hpp>
#include <sapwood/stream.hpp>

#include <type_traits>

namespace sapwood {

struct tcp_options {
    /// TCP_NODELAY: what is written is sent at once, and not held back until the peer has
    /// acknowledged what came before. Who writes many small pieces writes them with one write_all.
    bool no_delay = true;
};

struct tcp_listen_options {
    int backlog = backlog_default;
    /// SO_REUSEADDR: a restarted server gets its port although connections of its predecessor
    /// linger. It does not let two servers share a port.
    bool reuse_address = true;
    /// SO_REUSEPORT: several listeners, each with it, share the port and the connections; a loop
    /// per thread can so have a listener each.
    bool reuse_port = false;
    /// IPV6_V6ONLY: a listener on [::] does not take IPv4 connections as well, so that one on
    /// 0.0.0.0 can stand beside it.
    bool v6_only = true;
    /// Of accepted streams.
    tcp_options streams = {};
};

static_assert(std::is_trivially_destructible_v<tcp_listen_options>,
              "gcc 12 destroys options in a co_await expression twice");

class tcp_stream : public stream {
  public:
    using stream::stream;

    /// Throws std::system_error that names `to` and the reason. Cancelling gives the attempt up.
    [[nodiscard]] static task<tcp_stream> connect(endpoint to, tcp_options options = {});
};

class tcp_listener : public listener {
  public:
    tcp_listener() = default;

    /// Listens from now on; port 0 is a free one, and local_endpoint tells which. Its descriptor is
    /// O_NONBLOCK. Throws std::system_error that names `at` and the reason.
    explicit tcp_listener(const endpoint& at, tcp_listen_options options = {});

    /// Takes over a socket that listens already, as a service manager passes it on. Makes it
    /// O_NONBLOCK and one that exec does not pass on. Throws std::system_error where it is none.
    [[nodiscard]] static tcp_listener adopt(owned_fd listening, tcp_options streams = {});

    /// The next connection; see listener. One that comes when the accept was cancelled is the next
    /// one's.
    [[nodiscard]] task<tcp_stream> accept();

  private:
    tcp_options streams_;
};

} // namespace sapwood
