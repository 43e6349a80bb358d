// collector_options: which logs a collector keeps, where it listens, who may write; and what of
// that cannot be meant. Any thread.
#pragma once

#include "intake.hpp"
#include "named_log.hpp"
#include "queue_options.hpp"

#include <tls/tls_context.hpp>

#include <sapwood/endpoint.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sapwood::collector {

using sapwood::tls_options;

enum class source_kind : std::uint8_t {
    /// Over TCP or a Unix stream.
    http,
    /// Text or JSON, a line each, over TCP or a Unix stream.
    lines,
    /// Over TCP or a Unix stream.
    syslog,
    /// Datagrams, over UDP or a Unix socket.
    syslog_datagrams,
};

enum class security : std::uint8_t {
    /// TLS over TCP streams, where there is a certificate.
    automatic,
    tls,
    none,
};

struct listen_options {
    source_kind kind = source_kind::http;
    /// An address and a port, or a Unix socket.
    endpoint at;
    /// Of a Unix socket's path.
    mode_t mode = 0600;
    /// Where its records go; empty is the first. HTTP names the log itself.
    std::string log;
    /// As collector_options::tls says.
    security secured = security::automatic;
    /// Of a Unix socket: whose processes may write. None: everybody whom the path's mode lets in.
    std::vector<uid_t> users;
    /// The list is for all that turn out to be Unix sockets: of an inherited one of another family
    /// it is dropped, and not an error.
    bool has_users_where_unix = false;
    /// A socket that was there when we were started, by its name (see inherited_sockets), in place
    /// of one that is made at `at`.
    std::string inherited;
    /// The one that was found.
    int inherited_fd = -1;

    [[nodiscard]] bool is_stream() const noexcept { return kind != source_kind::syslog_datagrams; }
};

struct collector_options {
    /// The first is the default's. Names are unique.
    std::vector<named_log_options> logs;
    std::vector<listen_options> listeners;
    /// No two are the same queue of the same broker.
    std::vector<queue_options> queues;
    collector_limits limits;
    /// Where there are any, HTTP needs one.
    std::vector<access_token> tokens;
    /// See access_rules.
    std::vector<std::string> hosts;
    /// Of listeners that are secured.
    tls_options tls;
    /// Other machines may write without being asked who they are.
    bool takes_from_anybody = false;
    /// How long the end may take once it is told to end. Connections go on with what they have
    /// begun for most of it; a quarter, at most 5 s, is left to logs whose disk refuses records.
    clock::duration drain = std::chrono::seconds(10);
};

/// Whether both are the same listener, in old settings and in new ones.
[[nodiscard]] bool is_same_listener(const listen_options& one,
                                    const listen_options& other) noexcept;

/// Whether both are one queue, of whichever broker, in old settings and in new ones.
[[nodiscard]] bool is_same_queue(const queue_options& one, const queue_options& other) noexcept;

/// What open() would refuse before it opens anything: two logs of a name, a listener that others
/// could reach, an acknowledgement that never comes, ... Throws std::invalid_argument.
void require_valid(const collector_options& options);

/// Whether it makes a path, which has a mode.
[[nodiscard]] bool has_mode(const listen_options& listener) noexcept;

/// Whether it has TLS; `has_tls`: what is to be secured is.
[[nodiscard]] bool is_secured(const listen_options& listener, bool has_tls) noexcept;

/// A listener that others could reach asks who they are. Throws std::invalid_argument.
void require_access(const listen_options& listener, const collector_options& options, bool has_tls);

} // namespace sapwood::collector
