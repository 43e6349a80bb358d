#include "collector.hpp"

#include "passed_descriptors.hpp"
#include "segment_keeper.hpp"
#include "tls_handshake.hpp"

#include <sapwood/timeout.hpp>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <fmt/format.h>
#include <stdexcept>
#include <string_view>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sapwood::collector {

namespace {

/// Of the time to drain, what logs have whose disk refuses records.
clock::duration logs_share_of(clock::duration drain) noexcept {
    return std::min<clock::duration>(drain / 4, std::chrono::seconds(5));
}

/// What a log may take to notice that its time is over.
constexpr clock::duration look_at_disk = std::chrono::milliseconds(500);

/// Besides connections: standard streams, rings, directories, files that are opened anew.
constexpr std::size_t own_descriptors = 32;

/// Of those that somebody sends along, some may be open for as long as they are closed.
bool takes_descriptors(const listen_options& at) noexcept {
    return at.kind == source_kind::syslog_datagrams && at.at.family() == AF_UNIX;
}

/// Logs that were not there: those without a record are removed again where nothing comes of what
/// they were made for, as a collector that cannot listen. It is done while they are open, so that
/// nobody else writes to them.
class new_files {
  public:
    new_files() = default;
    new_files(const new_files&) = delete;
    new_files& operator=(const new_files&) = delete;

    ~new_files() {
        for (const entry& each : all_) {
            struct ::stat found {};

            if (::lstat(each.path.c_str(), &found) == 0 && S_ISREG(found.st_mode) &&
                (found.st_size == 0 || each.has_no_record())) {
                ::unlink(each.path.c_str());
            }
        }
    }

    /// A file is about to be made here, unless there is one.
    void expect(const std::string& path) {
        struct ::stat found {};

        is_expected_ = ::lstat(path.c_str(), &found) != 0 && errno == ENOENT;
        if (is_expected_) {
            all_.push_back({path, nullptr});
        }
    }

    /// It is open, and stays where it is.
    void opened(const named_log& log) noexcept {
        if (is_expected_) {
            all_.back().log = &log;
        }
    }

    void keep() noexcept { all_.clear(); }

  private:
    struct entry {
        std::string path;
        const named_log* log;

        /// Its file may be long all the same: space is made ahead of its end.
        [[nodiscard]] bool has_no_record() const {
            return log != nullptr && log->log().counts().accepted == lsn::none;
        }
    };

    std::vector<entry> all_;
    bool is_expected_ = false;
};

/// Has the process use all the descriptors that it may, and no more connections than fit.
void fit_descriptors(collector_options& options, std::vector<std::string>& warnings) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        const rlim_t before = std::exchange(limit.rlim_cur, limit.rlim_max);
        if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            limit.rlim_cur = before;
        }
    }
    const std::size_t own =
        own_descriptors + options.listeners.size() + options.queues.size() +
        4 * options.logs.size() +
        (std::ranges::any_of(options.listeners, takes_descriptors) ? passed_descriptors_max() : 0);
    const std::size_t room = limit.rlim_cur == RLIM_INFINITY
                                 ? options.limits.connections_max
                                 : std::max(limit.rlim_cur, own + 1) - own;
    if (room < options.limits.connections_max) {
        warnings.push_back(fmt::format(
            "{} connections are wanted, and {} fit, since this process may have {} files open: "
            "raise LimitNOFILE, or ulimit -n",
            options.limits.connections_max, room, limit.rlim_cur));
        options.limits.connections_max = room;
    }
}

} // namespace

collector::collector(const collector_options& options)
    : drain_(options.drain),
      listening_(options.listeners),
      intake_(options.limits),
      connections_(intake_) {
    intake_.rest_takes_at_most = std::min(intake_.rest_takes_at_most, drain_ / 4);
}

collector::~collector() = default;

task<std::unique_ptr<collector>> collector::open(collector_options options,
                                                 inherited_sockets* inherited) {
    inherited_sockets none;
    inherited_sockets& sockets = inherited != nullptr ? *inherited : none;
    for (listen_options& each : options.listeners) {
        sockets.claim(each);
        if (each.has_users_where_unix && each.at.family() != AF_UNIX) {
            each.users.clear();
        }
    }
    require_valid(options);
    std::vector<std::string> warnings;
    fit_descriptors(options, warnings);
    std::unique_ptr<collector> made(new collector(options));
    made->warnings_ = std::move(warnings);
    new_files files;
    for (named_log_options& each : options.logs) {
        files.expect(each.path);
        each.give_up_after = std::min(each.give_up_after, logs_share_of(options.drain));
        named_log log = co_await named_log::open(std::move(each));
        files.opened(made->intake_.logs.emplace_back(std::move(log)));
    }
    made->begin(std::move(options), sockets);
    files.keep();
    co_return made;
}

/// All but the logs, which are open.
void collector::begin(collector_options options, inherited_sockets& sockets) {
    if (options.tls.is_wanted()) {
        use_tls(std::make_shared<const tls_context>(options.tls), options.tls.handshake);
    }
    intake_.access.set_tokens(std::move(options.tokens));
    intake_.access.set_hosts(std::move(options.hosts));
    for (const listen_options& each : options.listeners) {
        listen(each, sockets);
    }
    sockets.require_all_claimed();
    for (const queue_options& each : options.queues) {
        consume(each);
    }
}

void collector::use_tls(std::shared_ptr<const tls_context> context, clock::duration handshake) {
    tls_ = std::move(context);
    intake_.tls_handshake = handshake;
    intake_.gate.certificate_ends = std::chrono::system_clock::to_time_t(tls_->expiry());
    if (tls_->expiry() <= std::chrono::system_clock::now()) {
        intake_.tell("the time of the certificate is over: no client will believe it");
    }
}

void collector::listen(const listen_options& each, inherited_sockets& inherited) {
    named_log& to = *intake_.find(each.log);
    listeners_.push_back(listen_at(each, to, inherited.take(each), tls_));
}

void collector::consume(const queue_options& each) {
    const std::string name = as_word(each.queue);
    std::string own = name;
    for (int number = 2;
         std::ranges::find(intake_.queues, own, &queue_status::name) != intake_.queues.end();
         ++number) {
        own = fmt::format("{}/{}", name, number);
    }
    queue_status& status = intake_.queues.emplace_back();
    status.name = std::move(own);
    queues_.push_back(make_queue_source(each, intake_, *intake_.find(each.log), status));
}

/// The listeners that there are, each with the users whom these settings let in.
std::vector<listen_options>
collector::with_users_of(const std::vector<listen_options>& fresh) const {
    std::vector<listen_options> made = listening_;
    // Where several are alike, as sockets that systemd has given one name, each has its own.
    std::vector<const listen_options*> taken;
    for (listen_options& own : made) {
        const auto same = std::ranges::find_if(fresh, [&](const listen_options& each) {
            return is_same_listener(each, own) && std::ranges::find(taken, &each) == taken.end();
        });
        if (same != fresh.end()) {
            taken.push_back(&*same);
            own.users = same->users;
        }
    }
    return made;
}

std::shared_ptr<const tls_context>
collector::read_certificates(const collector_options& options) const {
    // Where new settings have none, listeners go on with what they have until a restart.
    return tls_ == nullptr || !options.tls.is_wanted()
               ? nullptr
               : std::make_shared<const tls_context>(options.tls);
}

void collector::reload(collector_options options, std::shared_ptr<const tls_context> certificates) {
    if (intake_.is_told_to_end) {
        throw std::runtime_error("it is about to end"); // and listens no more
    }
    std::shared_ptr<const tls_context> tls =
        certificates != nullptr ? std::move(certificates) : read_certificates(options);
    std::vector<listen_options> listening = with_users_of(options.listeners);
    for (const listen_options& each : listening) {
        // It stays without TLS, whatever the new settings say of it.
        require_access(each, options, tls_ != nullptr);
    }
    listening_ = std::move(listening);
    for (std::size_t i = 0; i < listening_.size(); ++i) {
        listeners_[i]->set_users(listening_[i].users);
    }
    if (tls != nullptr) {
        use_tls(std::move(tls), options.tls.handshake);
    }
    intake_.tls_handshake = options.tls.handshake; // also of TLS that new settings do not want
    std::vector<const queue_options*> consumed;
    for (const auto& each : queues_) {
        const auto same = std::ranges::find_if(options.queues, [&](const queue_options& other) {
            return is_same_queue(each->options(), other) &&
                   std::ranges::find(consumed, &other) == consumed.end();
        });
        if (same != options.queues.end()) {
            consumed.push_back(&*same);
            each->change(*same);
        }
    }
    intake_.access.set_tokens(std::move(options.tokens));
    intake_.access.set_hosts(std::move(options.hosts));
    ++intake_.generation;
}

void collector::reopen_logs() noexcept {
    for (named_log& each : intake_.logs) {
        each.log().look_soon();
    }
}

std::vector<endpoint> collector::endpoints() const {
    std::vector<endpoint> all;
    all.reserve(listeners_.size());
    for (const auto& each : listeners_) {
        all.push_back(each->local_endpoint());
    }
    return all;
}

task<> collector::run() {
    std::exception_ptr failure;
    try {
        co_await serve();
    } catch (...) {
        failure = std::current_exception();
    }
    listeners_.clear(); // nobody new is let in
    intake_.is_told_to_end = intake_.is_draining = true;
    for (const auto& each : queues_) {
        each->stop();
    }
    const auto until = saturating_add(told_to_end_, drain_ - logs_share_of(drain_));
    cut_off_ = co_await connections_.drain(until);
    co_await finish_queues(until);
    // However long the queues took, a disk that answers has time to.
    const auto last = std::max(saturating_add(told_to_end_, drain_ + look_at_disk),
                               saturating_add(event_loop::current().now(), look_at_disk));
    co_await close_logs(last);
    co_await finish_keepers(last);
    if (failure) {
        std::rethrow_exception(failure);
    }
}

/// Until stop(), or until one of them fails.
task<> collector::serve() {
    task_group group;
    for (const auto& each : listeners_) {
        group.spawn(end_with(each->run(intake_, connections_)));
    }
    group.spawn(end_with(connections_.watch()));
    for (const named_log& each : intake_.logs) {
        keepers_.push_back(spawn(run_keeper(each)));
    }
    for (const auto& each : queues_) {
        each->start();
    }
    std::exception_ptr cause;
    try {
        co_await stopping_.wait();
    } catch (...) {
        cause = std::current_exception();
    }
    told_to_end_ = event_loop::current().now();
    // Sources may take their time for what has come: meanwhile /readyz sends nobody here any more.
    intake_.is_told_to_end = true;
    for (auto& each : keepers_) {
        each.cancel();
    }
    group.cancel();
    co_await group.join();
    if (failure_) {
        std::rethrow_exception(failure_);
    }
    if (cause) {
        std::rethrow_exception(cause);
    }
}

task<> collector::finish_queues(clock::time_point until) {
    task_group group;
    for (const auto& each : queues_) {
        group.spawn(each->finish(until));
    }
    co_await group.join();
}

/// What serves: where it fails the collector ends, and does not go on without it.
task<> collector::end_with(task<> part) {
    try {
        co_await std::move(part);
    } catch (const std::exception&) {
        failure_ = std::current_exception();
        stop();
    }
}

task<> collector::run_keeper(const named_log& of) {
    try {
        co_await end_with(keep_segments(intake_, of));
    } catch (const cancelled&) { // nobody awaits it
    }
    if (++keepers_ended_ == keepers_.size()) {
        kept_.set();
    }
}

/// One that waits for a disk cannot be broken off, and nothing else waits for it.
task<> collector::finish_keepers(clock::time_point until) {
    if (std::ranges::all_of(keepers_, [](const auto& each) { return each.done(); })) {
        co_return; // none has begun, if it was told to end before that
    }
    const auto ended = co_await as_result(deadline(until, kept_.wait()));
    if (!ended && keepers_ended_ != keepers_.size()) {
        is_stuck_ = true;
        left_.emplace_back("old segments are not removed: their disk does not answer");
    }
}

/// All at once: those whose disk refuses records take as long as one.
task<> collector::close_logs(clock::time_point until) {
    task_group group;
    for (named_log& each : intake_.logs) {
        group.spawn(close_log(each, until));
    }
    co_await group.join();
    if (const std::uint64_t lines = intake_.counts.records_left; lines != 0) {
        left_.push_back(fmt::format(
            "{} lines and datagrams were taken, and the logs had no room for them", lines));
    }
}

task<> collector::close_log(named_log& which, clock::time_point until) {
    std::string why;
    try {
        co_await sapwood::deadline(until, which.log().close());
    } catch (const std::system_error& failure) {
        if (failure.code() == std::errc::timed_out) {
            is_stuck_ = true;
            why = "its disk does not answer";
        } else {
            why = failure.what();
        }
    } catch (const std::exception& failure) {
        why = failure.what();
    }
    const pipeline_counts counts = which.log().counts();
    if (!why.empty() || counts.records_lost != 0) {
        left_.push_back(fmt::format("log {}: {} records are not in {}{}{}", which.name(),
                                    counts.records_lost + counts.records_in_flight,
                                    which.options().path, why.empty() ? "" : ": ", why));
    }
}

} // namespace sapwood::collector
