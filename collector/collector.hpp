// collector: many programs, one log: listens on sockets of several kinds, gives what comes to its
// logs, and answers when that is kept. What `sapwood serve` runs. Loop thread only.
#pragma once

#include "collector_options.hpp"
#include "connection.hpp"
#include "inherited_sockets.hpp"
#include "intake.hpp"
#include "named_log.hpp"
#include "queue_source.hpp"
#include "source_listener.hpp"

#include <tls/tls_context.hpp>

#include <sapwood/endpoint.hpp>
#include <sapwood/event.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task.hpp>
#include <sapwood/task_group.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace sapwood::collector {

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

    /// Goes on with the tokens, hosts, certificates, lists of users and brokers of these; logs,
    /// listeners and queues stay as they are, and so do connections of clients. Throws
    /// std::exception, and has changed nothing, where a listener would be left unguarded or a
    /// certificate cannot be used, and once run() has been told to end. `certificates`: what
    /// read_certificates() has made of `options`; where it is null they are read now.
    void reload(collector_options options,
                std::shared_ptr<const tls_context> certificates = nullptr);

    /// Null where there is no TLS, or `options` want none. Throws std::exception. Any thread, but
    /// not while reload() runs: files may be slow.
    [[nodiscard]] std::shared_ptr<const tls_context>
    read_certificates(const collector_options& options) const;

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
    explicit collector(const collector_options& options);

    [[nodiscard]] std::vector<listen_options>
    with_users_of(const std::vector<listen_options>& fresh) const;
    void use_tls(std::shared_ptr<const tls_context> context, clock::duration handshake);
    void begin(collector_options options, inherited_sockets& sockets);
    void listen(const listen_options& each, inherited_sockets& inherited);
    void consume(const queue_options& each);
    task<> finish_queues(clock::time_point until);
    task<> serve();
    task<> end_with(task<> part);
    task<> run_keeper(const named_log& of);
    task<> finish_keepers(clock::time_point until);
    task<> close_logs(clock::time_point until);
    task<> close_log(named_log& which, clock::time_point until);

    const clock::duration drain_;
    std::vector<listen_options> listening_;
    intake intake_;
    /// For handshakes that begin; null where no listener is secured.
    std::shared_ptr<const tls_context> tls_;
    connections connections_;
    std::vector<std::unique_ptr<source_listener>> listeners_;
    std::vector<std::unique_ptr<queue_source>> queues_;
    /// They remove old segments, and a disk may hold them up for as long as it likes.
    std::vector<join_handle<void>> keepers_;
    std::size_t keepers_ended_ = 0;
    event kept_;
    event stopping_;
    /// When the time to drain has begun.
    clock::time_point told_to_end_{};
    /// What a listener, or another part that serves, has ended by, if one has.
    std::exception_ptr failure_;
    std::size_t cut_off_ = 0;
    std::vector<std::string> warnings_;
    std::vector<std::string> left_;
    bool is_stuck_ = false;
};

} // namespace sapwood::collector
