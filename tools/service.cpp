#include "service.hpp"

#include "number_of.hpp"

#include <collector/inherited_sockets.hpp>
#include <collector/intake.hpp>
#include <collector/service_manager.hpp>
#include <collector/settings.hpp>

#include <sapwood/run_blocking.hpp>
#include <sapwood/signal_set.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace sapwood::tools {

namespace {

using collector::collector_options;

/// How long it may take to end when the time to drain is over, in which logs are closed as well.
constexpr clock::duration closing_takes_at_most = std::chrono::seconds(10);

/// A collector that runs, and what signals have it do.
class service {
  public:
    service(collector_options options, read_options read, bool has_settings)
        : options_(std::move(options)),
          read_(std::move(read)),
          has_settings_(has_settings) {}

    /// The exit code. Throws std::exception where it cannot begin.
    task<int> run() {
        // Before it listens: whoever sees that it does may send one.
        signal_set signals{SIGTERM, SIGINT, SIGHUP};
        auto inherited = collector::inherited_sockets::from_environment();
        if (!co_await open_unless_told_to_end(signals, inherited)) {
            collector::say("it was told to end before it had begun");
            co_return 0;
        }
        for (const std::string& each : served_->warnings()) {
            collector::say(each);
        }
        print_places();
        for (const collector::queue_status& each : served_->shared().queues) {
            fmt::print("consuming queue {}\n", each.name);
        }
        std::fflush(stdout);
        co_await manager_.tell("READY=1");
        auto alive = spawn(manager_.keep_alive());
        auto obeying = spawn(obey(signals));
        if (is_stopping_) { // as soon as it had begun
            begin_to_end();
        }
        std::string failure;
        try {
            co_await served_->run();
        } catch (const std::exception& why) {
            failure = why.what();
        }
        co_await end(alive);
        if (telling_) {
            co_await telling_; // soon over, also where the manager does not listen
        }
        co_await end(obeying);
        co_await end(limit_);
        const bool is_reading = is_reloading();
        if (!is_reading) {
            co_await end(reloading_);
        }
        const int code = report(failure);
        if (is_reading || served_->is_stuck()) {
            leave(code); // the loop would wait for the disk, or for what settings are read from
        }
        co_return code;
    }

  private:
    /// Each with what is spoken there.
    void print_places() const {
        const std::vector<endpoint> places = served_->endpoints();
        for (std::size_t i = 0; i < places.size(); ++i) {
            collector::listen_options one = options_.listeners[i];
            one.at = places[i]; // an inherited one is known by now
            // The place is last, where programs look for the port.
            fmt::print("listening for {}{} on {}\n", spoken_at(one.kind),
                       collector::is_secured(one, options_.tls.is_wanted()) ? " over TLS" : "",
                       places[i].to_string());
        }
    }

    static std::string_view spoken_at(collector::source_kind kind) {
        switch (kind) {
        case collector::source_kind::http:
            return "HTTP";
        case collector::source_kind::lines:
            return "lines";
        case collector::source_kind::syslog:
            return "syslog";
        case collector::source_kind::syslog_datagrams:
            break;
        }
        return "syslog datagrams";
    }

    static task<> end(join_handle<void>& which) {
        if (which) {
            which.cancel();
            try {
                co_await which;
            } catch (const cancelled&) { // as it was told to
            }
        }
    }

    /// Logs that were cut off by a crash may take long to open, and nobody waits for that in order
    /// to end it.
    task<bool> open_unless_told_to_end(signal_set& signals,
                                       collector::inherited_sockets& inherited) {
        auto opening = spawn(open(inherited));
        auto heeding = spawn(heed(signals, opening));
        auto waiting = spawn(manager_.keep_waiting());
        std::exception_ptr failure;
        try {
            co_await opening;
        } catch (const cancelled&) {
            failure = is_stopping_ ? nullptr : std::current_exception();
        } catch (...) {
            failure = std::current_exception();
        }
        co_await end(heeding);
        co_await end(waiting);
        if (failure) {
            std::rethrow_exception(failure);
        }
        co_return served_ != nullptr;
    }

    task<> open(collector::inherited_sockets& inherited) {
        served_ = co_await collector::collector::open(options_, &inherited);
    }

    /// While it is opened, until it is cancelled.
    task<> heed(signal_set& signals, join_handle<void>& opening) {
        for (;;) {
            const int number = co_await signals.next();
            if (number == SIGHUP) {
                has_to_reload_ = true;
            } else if (std::exchange(is_stopping_, true)) {
                collector::say("it was told to end twice");
                ::_exit(1);
            } else {
                opening.cancel();
            }
        }
    }

    /// Until it is cancelled: while what is left is brought to its end, too.
    task<> obey(signal_set& signals) {
        if (has_to_reload_) {
            begin_reload();
        }
        for (;;) {
            const int number = co_await signals.next();
            if (number == SIGHUP) {
                begin_reload();
            } else if (std::exchange(is_stopping_, true)) {
                end_now("it was told to end twice");
            } else {
                begin_to_end();
            }
        }
    }

    void begin_to_end() {
        served_->stop();
        limit_ = spawn(end_in_time());
        telling_ = spawn(manager_.tell_stopping(options_.drain + 2 * closing_takes_at_most));
    }

    [[nodiscard]] bool is_reloading() const { return reloading_ && !reloading_.done(); }

    /// Nobody waits for it: what users are looked up by, and files of certificates, may hang, and
    /// whoever heeds signals must not. One at a time, and another one behind it where it is asked
    /// for meanwhile.
    void begin_reload() {
        served_->reopen_logs();
        has_to_reload_ = true;
        if (!is_reloading()) {
            reloading_ = spawn(reload_while_asked());
        }
    }

    task<> reload_while_asked() {
        while (std::exchange(has_to_reload_, false)) {
            co_await reload();
        }
    }

    struct fresh_settings {
        collector_options options;
        std::shared_ptr<const tls_context> certificates;
    };

    /// On a thread.
    [[nodiscard]] fresh_settings read_settings() const {
        fresh_settings made;
        made.options = read_();
        made.certificates = served_->read_certificates(made.options);
        return made;
    }

    /// Where something is wrong with the settings, those that it had stay; and where it is about to
    /// end, which the manager has been told already.
    task<> reload() {
        if (!is_stopping_) {
            co_await manager_.tell_reloading();
        }
        try {
            fresh_settings fresh = co_await run_blocking([this] { return read_settings(); });
            const std::string later = collector::needs_restart(options_, fresh.options);
            served_->reload(std::move(fresh.options), std::move(fresh.certificates));
            collector::say(has_settings_ ? "settings were read again"
                                         : "the files that its options name were read again");
            if (!later.empty()) {
                collector::say("changes only when it is started again: its " + later);
            }
        } catch (const std::exception& wrong) {
            collector::say(fmt::format("settings stay as they were: {}", wrong.what()));
        }
        if (!is_stopping_) {
            co_await manager_.tell("READY=1");
        }
    }

    /// A disk that hangs is no reason to stay for ever.
    task<> end_in_time() {
        co_await sleep_for(options_.drain + closing_takes_at_most);
        end_now("the time to end is over");
    }

    /// Without waiting for anything. What was acknowledged as durable is.
    [[noreturn]] void end_now(std::string_view why) {
        const auto& counts = served_->shared().counts;
        const std::uint64_t cut = counts.connections_opened - counts.connections_closed;
        std::string left =
            fmt::format("{} {} cut off", number_of(cut, "connection"), cut == 1 ? "was" : "were");
        for (const collector::named_log& each : served_->shared().logs) {
            const auto now = each.log().counts();
            const std::uint64_t missing = to_number(now.accepted) - to_number(now.written);
            left += fmt::format(", {} of {} {} not in its file", number_of(missing, "record"),
                                each.name(), is_or_are(missing));
        }
        collector::say(fmt::format("{}: {}", why, left));
        leave(1);
    }

    /// Not all streams are flushed: one that a thread reads, and waits in, is locked.
    [[noreturn]] static void leave(int code) {
        std::fflush(stdout);
        std::fflush(stderr);
        ::_exit(code);
    }

    [[nodiscard]] int report(const std::string& failure) const {
        const auto& counts = served_->shared().counts;
        fmt::print("{}, {} by HTTP, {} cut off\n", number_of(counts.records, "record"),
                   number_of(counts.requests, "request"),
                   number_of(served_->cut_off(), "connection"));
        for (const std::string& each : served_->left()) {
            collector::say(each);
        }
        if (!failure.empty()) {
            collector::say(failure);
        }
        return failure.empty() && served_->cut_off() == 0 && served_->left().empty() ? 0 : 1;
    }

    const collector_options options_;
    const read_options read_;
    /// A file of them.
    const bool has_settings_;
    collector::service_manager manager_;
    std::unique_ptr<collector::collector> served_;
    join_handle<void> limit_;
    /// The service manager of the end.
    join_handle<void> telling_;
    join_handle<void> reloading_;
    bool is_stopping_ = false;
    bool has_to_reload_ = false;
};

} // namespace

task<int> serve(collector_options options, read_options read, bool has_settings) {
    service made(std::move(options), std::move(read), has_settings);
    co_return co_await made.run();
}

} // namespace sapwood::tools
