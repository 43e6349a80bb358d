#include "serve.hpp"

#include <collector/collector.hpp>
#include <collector/service_manager.hpp>
#include <collector/settings.hpp>

#include <sapwood/run.hpp>
#include <sapwood/signal_set.hpp>
#include <sapwood/when_any.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <stdexcept>

namespace sapwood::tools {

namespace {

using collector::collector_options;
using collector::named_log_options;

/// `NAME=PATH`, or `PATH`, whose name is the file's without its extension.
named_log_options log_of(const std::string& text) {
    named_log_options log;
    const auto equals = text.find('=');
    if (equals != text.npos && collector::is_log_name(text.substr(0, equals))) {
        log.name = text.substr(0, equals);
        log.path = text.substr(equals + 1);
    } else {
        log.name = std::filesystem::path(text).stem();
        log.path = text;
    }
    return log;
}

/// `[NAME=]WHERE`, where a path is that of a Unix socket.
collector::listen_options listener_of(collector::source_kind kind, std::string text, mode_t mode) {
    collector::listen_options made;
    made.kind = kind;
    made.mode = mode;
    if (const auto equals = text.find('=');
        equals != text.npos && collector::is_log_name(text.substr(0, equals))) {
        made.log = text.substr(0, equals);
        text.erase(0, equals + 1);
    }
    made.at = collector::parse_place(text);
    return made;
}

using read_options = std::function<collector_options()>;

/// Ends it at SIGTERM and SIGINT; at SIGHUP has its tokens and hosts read anew. Where those are
/// wrong, those that it had stay.
task<> obey_signals(collector::collector& served, collector::service_manager& manager,
                    read_options read) {
    signal_set signals{SIGTERM, SIGINT, SIGHUP};
    while (co_await signals.next() == SIGHUP) {
        try {
            collector_options fresh = read();
            served.reload(std::move(fresh));
            fmt::print(stderr, "sapwood: settings were read again\n");
        } catch (const std::exception& wrong) {
            fmt::print(stderr, "sapwood: settings stay as they were: {}\n", wrong.what());
        }
    }
    co_await manager.tell("STOPPING=1");
    served.stop();
}

task<int> serve(collector_options options, read_options read) {
    auto served = co_await collector::collector::open(std::move(options));
    for (const std::string& each : served->warnings()) {
        fmt::print(stderr, "sapwood: {}\n", each);
    }
    for (const endpoint& each : served->endpoints()) {
        fmt::print("listening on {}\n", each.to_string());
    }
    std::fflush(stdout);
    collector::service_manager manager;
    co_await manager.tell("READY=1");
    auto alive = spawn(manager.keep_alive());
    auto signals = spawn(obey_signals(*served, manager, std::move(read)));
    co_await served->run();
    for (auto* const each : {&alive, &signals}) {
        each->cancel();
        try {
            co_await *each;
        } catch (const cancelled&) { // as it was told to
        }
    }
    const auto& counts = served->shared().counts;
    fmt::print("{} records of {} requests, {} connections cut off\n", counts.records,
               counts.requests, served->cut_off());
    for (const std::string& each : served->left()) {
        fmt::print(stderr, "sapwood: {}\n", each);
    }
    const int code = served->cut_off() == 0 && served->left().empty() ? 0 : 1;
    if (served->is_stuck()) {
        std::fflush(nullptr);
        std::_Exit(code); // the loop would wait for the disk
    }
    co_return code;
}

} // namespace

serve_command::serve_command(CLI::App& program)
    : command_(program.add_subcommand(
          "serve", "Collect the records of many programs into one log, or several")) {
    command_->add_option("--log", logs_, "PATH, or NAME=PATH; the first one is the default")
        ->type_name("[NAME=]PATH");
    command_->add_option("--http", http_, "Take records by HTTP: 127.0.0.1:8514, or a path");
    command_->add_option("--unix", unix_, "Take lines, text or JSON, at this path");
    command_->add_option("--unix-datagram", unix_datagrams_,
                         "Take syslog messages at this path, as /dev/log does");
    command_->add_option("--udp", udp_, "Take syslog messages by UDP: 127.0.0.1:5514");
    command_->add_option("--tcp", tcp_, "Take syslog messages by TCP");
    command_->add_option("--format", form_, "text, json or logfmt")->capture_default_str();
    command_
        ->add_option(
            "--durability", durability_,
            "When a log is synced: batch (before each 200), none, or every so many seconds")
        ->capture_default_str();
    command_->add_option("--ack", ack_, "What 200 means: durable, written or accepted");
    command_->add_option("--mode", mode_, "Permissions of the sockets' paths")
        ->capture_default_str();
    command_->add_option("--drain", drain_seconds_,
                         "Seconds for what is under way at the end; 10 by default");
    command_->add_option("--tokens", tokens_, "HTTP needs one of this file's tokens");
    command_->add_option("--host", hosts_,
                         "A name that HTTP requests may have for this machine besides localhost");
    command_->add_flag("--from-anybody", takes_from_anybody_,
                       "Listen beyond this machine although nobody is asked who he is");
    command_->add_option("--config", settings_, "Settings in TOML; options add to them");
    command_->add_flag("--check", only_checks_, "Say whether options and settings are well, only");
    command_->footer("All but --http and --log may begin with NAME=, the log that it is for.\n"
                     "Exit code: 0 where everything taken is in the logs, 1 where connections were "
                     "cut off,\n2 where it cannot begin.");
}

collector_options serve_command::options() const {
    collector_options options;
    if (!settings_.empty()) {
        options = collector::read_settings(settings_);
    }
    const auto form = collector::parse_log_form(form_);
    if (!form) {
        throw std::invalid_argument("--format is text, json or logfmt, not " + form_);
    }
    const auto ack = collector::parse_ack_level(ack_);
    if (!ack && !ack_.empty()) {
        throw std::invalid_argument("--ack is durable, written or accepted, not " + ack_);
    }
    for (const std::string& each : logs_) {
        named_log_options log = log_of(each);
        log.form = *form;
        log.durable = collector::parse_durability(durability_, "--durability");
        log.ack = ack;
        options.logs.push_back(std::move(log));
    }
    using collector::source_kind;
    const mode_t mode = collector::parse_mode(mode_, "--mode");
    const auto listen = [&](source_kind kind, const std::vector<std::string>& places) {
        for (const std::string& each : places) {
            options.listeners.push_back(listener_of(kind, each, mode));
        }
    };
    listen(source_kind::http, http_);
    listen(source_kind::lines, unix_);
    listen(source_kind::syslog_datagrams, unix_datagrams_);
    listen(source_kind::syslog_datagrams, udp_);
    listen(source_kind::syslog, tcp_);
    if (options.logs.empty()) {
        throw std::invalid_argument("serve: say where to write: --log app.log");
    }
    if (options.listeners.empty()) {
        throw std::invalid_argument("serve: say where to listen: --http 127.0.0.1:8514, or --unix, "
                                    "--unix-datagram, --udp, --tcp");
    }
    if (!tokens_.empty()) {
        options.tokens = collector::read_tokens(tokens_);
    }
    options.hosts.insert(options.hosts.end(), hosts_.begin(), hosts_.end());
    options.takes_from_anybody = options.takes_from_anybody || takes_from_anybody_;
    if (drain_seconds_ >= 0) {
        options.drain = std::chrono::duration_cast<clock::duration>(
            std::chrono::duration<double>(drain_seconds_));
    }
    collector::require_valid(options);
    return options;
}

int serve_command::run() const {
    collector_options wanted = options();
    if (only_checks_) {
        fmt::print("serve: {} logs, {} places to listen at: well\n", wanted.logs.size(),
                   wanted.listeners.size());
        return 0;
    }
    return sapwood::run(serve(std::move(wanted), [this] { return options(); }));
}

} // namespace sapwood::tools
