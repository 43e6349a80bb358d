#include "serve.hpp"

#include <collector/collector.hpp>

#include <sapwood/run.hpp>
#include <sapwood/signal_set.hpp>
#include <sapwood/when_any.hpp>

#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood::tools {

namespace {

using collector::collector_options;
using collector::named_log_options;

durability parse_durability(const std::string& text) {
    if (text == "batch") {
        return durability::batch();
    }
    if (text == "none") {
        return durability::none();
    }
    std::size_t used = 0;
    double seconds = 0;
    try {
        seconds = std::stod(text, &used);
    } catch (const std::exception&) {
        used = 0;
    }
    if (used == 0 || used != text.size() || !(seconds > 0)) {
        throw std::invalid_argument(
            fmt::format("--durability is batch, none or a number of seconds, not {}", text));
    }
    return durability::interval(
        std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds)));
}

mode_t parse_mode(const std::string& text) {
    mode_t mode = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size() ||
        mode > 0777) {
        throw std::invalid_argument("--mode is octal, as 600 or 666, not " + text);
    }
    return mode;
}

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
    made.at = text.starts_with('/') || text.starts_with('.') ? endpoint::unix_path(text)
                                                             : endpoint::parse(text);
    return made;
}

task<> stop_at_signal(collector::collector& served) {
    signal_set signals{SIGTERM, SIGINT};
    (void)co_await signals.next();
    served.stop();
}

task<int> serve(collector_options options) {
    auto served = co_await collector::collector::open(std::move(options));
    for (const endpoint& each : served->endpoints()) {
        fmt::print("listening on {}\n", each.to_string());
    }
    std::fflush(stdout);
    auto signals = spawn(stop_at_signal(*served));
    co_await served->run();
    signals.cancel();
    signals.detach();
    const auto& counts = served->shared().counts;
    fmt::print("{} records of {} requests, {} connections cut off\n", counts.records,
               counts.requests, served->cut_off());
    co_return served->cut_off() == 0 ? 0 : 1;
}

} // namespace

serve_command::serve_command(CLI::App& program)
    : command_(program.add_subcommand(
          "serve", "Collect the records of many programs into one log, or several")) {
    command_->add_option("--log", logs_, "PATH, or NAME=PATH; the first one is the default")
        ->required();
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
    command_->add_option("--drain", drain_seconds_, "Seconds for what is under way at the end")
        ->capture_default_str();
    command_->footer("All but --http and --log may begin with NAME=, the log that it is for.\n"
                     "Exit code: 0 where everything taken is in the logs, 1 where connections were "
                     "cut off,\n2 where it cannot begin.");
}

int serve_command::run() const {
    collector_options options;
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
        log.durable = parse_durability(durability_);
        log.ack = ack;
        options.logs.push_back(std::move(log));
    }
    using collector::source_kind;
    const mode_t mode = parse_mode(mode_);
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
    if (options.listeners.empty()) {
        throw std::invalid_argument("serve: say where to listen: --http 127.0.0.1:8514, or --unix, "
                                    "--unix-datagram, --udp, --tcp");
    }
    options.drain =
        std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(drain_seconds_));
    return sapwood::run(serve(std::move(options)));
}

} // namespace sapwood::tools
