// spdlog's sinks to syslog, to the journal and over TCP and UDP, by sapwood's. A daemon or host
// that is not there does not keep a logger from being made, except where spdlog throws: what is
// logged is sent when it comes. Part of spdlog_compat.hpp, which see.
#pragma once

#include <sapwood/spdlog_compat_sinks.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <syslog.h>
#include <utility>

namespace sapwood::spdlog_compat {

namespace sinks {

/// To the machine's daemon, the message alone or, formatted, as the pattern has it. Of the options
/// of openlog(3) only LOG_PID means something.
class syslog_daemon final : public log_backed_sink {
  public:
    /// An empty `ident` is the program's name.
    explicit syslog_daemon(const std::string& ident = "", int options = 0, int facility = LOG_USER,
                           bool enable_formatting = false, const std::string& socket = "/dev/log");
};

/// To systemd's journal, with logger, thread and place in the source as fields.
class systemd_journal final : public log_backed_sink {
  public:
    explicit systemd_journal(const std::string& ident = "", bool enable_formatting = false,
                             const std::string& socket = "/run/systemd/journal/socket");
};

struct tcp_sink_config {
    std::string server_host;
    int server_port;
    /// Where it is false and nobody is there, the sink throws spdlog_ex.
    bool lazy_connect = false;

    tcp_sink_config(std::string host, int port) : server_host(std::move(host)), server_port(port) {}
};

/// Lines to a server; it is connected to again where the connection breaks.
class tcp_connection final : public log_backed_sink {
  public:
    explicit tcp_connection(const tcp_sink_config& config);
};

struct udp_sink_config {
    std::string server_host;
    std::uint16_t server_port;

    udp_sink_config(std::string host, std::uint16_t port)
        : server_host(std::move(host)),
          server_port(port) {}
};

/// Lines, each a datagram, without the newline.
class udp_datagrams final : public log_backed_sink {
  public:
    explicit udp_datagrams(const udp_sink_config& config);
};

template <class Mutex>
using syslog_sink = syslog_daemon;
template <class Mutex>
using systemd_sink = systemd_journal;
template <class Mutex>
using tcp_sink = tcp_connection;
template <class Mutex>
using udp_sink = udp_datagrams;

using syslog_sink_mt = syslog_daemon;
using syslog_sink_st = syslog_daemon;
using systemd_sink_mt = systemd_journal;
using systemd_sink_st = systemd_journal;
using tcp_sink_mt = tcp_connection;
using tcp_sink_st = tcp_connection;
using udp_sink_mt = udp_datagrams;
using udp_sink_st = udp_datagrams;

} // namespace sinks

template <class Factory = synchronous_factory>
std::shared_ptr<logger> syslog_logger_mt(const std::string& name, const std::string& ident = "",
                                         int options = 0, int facility = LOG_USER,
                                         bool enable_formatting = false) {
    return Factory::template create<sinks::syslog_daemon>(name, ident, options, facility,
                                                          enable_formatting);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> systemd_logger_mt(const std::string& name, const std::string& ident = "",
                                          bool enable_formatting = false) {
    return Factory::template create<sinks::systemd_journal>(name, ident, enable_formatting);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> udp_logger_mt(const std::string& name,
                                      const sinks::udp_sink_config& config) {
    return Factory::template create<sinks::udp_datagrams>(name, config);
}

template <class Factory = synchronous_factory, class... Args>
std::shared_ptr<logger> syslog_logger_st(Args&&... args) {
    return syslog_logger_mt<Factory>(std::forward<Args>(args)...);
}

template <class Factory = synchronous_factory, class... Args>
std::shared_ptr<logger> systemd_logger_st(Args&&... args) {
    return systemd_logger_mt<Factory>(std::forward<Args>(args)...);
}

} // namespace sapwood::spdlog_compat
