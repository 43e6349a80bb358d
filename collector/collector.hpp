// collector: many programs, one log: listens on sockets of several kinds, gives what comes to its
// logs, and answers when that is kept. What `sapwood serve` runs. Loop thread only.
#pragma once

#include "connection.hpp"
#include "inherited_sockets.hpp"
#include "intake.hpp"
#include "named_log.hpp"
#include "tls_context.hpp"

#include <sapwood/endpoint.hpp>
#include <sapwood/event.hpp>
#include <sapwood/task.hpp>
#include <sapwood/task_group.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace sapwood::collector {

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

/// What open() would refuse before it opens anything: two logs of a name, a listener that others
/// could reach, an acknowledgement that never comes, ... Throws std::invalid_argument.
void require_valid(const collector_options& options);

class collector {
  public:
    /// Opens the logs, then listens. Throws std::system_error or std::invalid_argument.
    /// What is inherited is taken from `inherited`.
    [[nodiscard]] static task<std::unique_ptr<collector>>
    open(collector_options options, inherited_sockets* inherited = nullptr);

    collector(const collector&) = delete;
    collector& operator=(const collector&) = delete;
    ~collector();

    /// Serves until stop(), or until it is cancelled; then takes no more records, acknowledges what
    /// it has taken, and closes the logs, all within the time to drain: left() says what that was
    /// not enough for. Throws what a listener failed with, or `cancelled`.
    [[nodiscard]] task<> run();

    /// Goes on with the tokens, hosts, certificates and lists of users of these; logs and listeners
    /// stay as they are, and so do connections. Throws std::exception, and has changed nothing,
    /// where a listener would be left unguarded or a certificate cannot be used.
    void reload(collector_options options);

    /// Records that come from now on go into the files that have the logs' names by then.
    void reopen_logs() noexcept;

    void stop() noexcept { stopping_.set(); }

    /// Where it listens, in the order of the options; a port that was 0 has been chosen.
    [[nodiscard]] std::vector<endpoint> endpoints() const;

    [[nodiscard]] intake& shared() noexcept { return intake_; }

    /// What an operator should know of how it began: a sentence each.
    [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }

    /// After run(): what was taken and is not kept, and what could not be closed; a sentence each.
    [[nodiscard]] const std::vector<std::string>& left() const noexcept { return left_; }

    /// After run(): a log's disk does not answer, and its loop will not end before it does. Say
    /// what is to be said, and leave with _Exit.
    [[nodiscard]] bool is_stuck() const noexcept { return is_stuck_; }

    /// Connections that were cut off because the time to drain was over.
    [[nodiscard]] std::size_t cut_off() const noexcept { return cut_off_; }

  private:
    class source_listener;
    class stream_listener;
    class datagram_listener;

    explicit collector(const collector_options& options);

    void use_tls(std::shared_ptr<const tls_context> context, clock::duration handshake);
    void listen(const listen_options& each, inherited_sockets& inherited);
    task<> serve();
    task<> run_listener(source_listener& from);
    task<> close_logs(clock::time_point until);
    task<> close_log(named_log& which, clock::time_point until);

    const clock::duration drain_;
    std::vector<listen_options> listening_;
    intake intake_;
    /// For handshakes that begin; null where no listener is secured.
    std::shared_ptr<const tls_context> tls_;
    connections connections_;
    std::vector<std::unique_ptr<source_listener>> listeners_;
    event stopping_;
    /// What a listener has ended by, if one has.
    std::exception_ptr failure_;
    std::size_t cut_off_ = 0;
    std::vector<std::string> warnings_;
    std::vector<std::string> left_;
    bool is_stuck_ = false;
};

} // namespace sapwood::collector
