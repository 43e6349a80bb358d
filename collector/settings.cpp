#include "settings.hpp"

#include "line_splitter.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <pwd.h>
#include <stdexcept>
#include <system_error>

namespace sapwood::collector {

durability parse_durability(std::string_view text, std::string_view option) {
    if (text == "batch") {
        return durability::batch();
    }
    if (text == "none") {
        return durability::none();
    }
    double seconds = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || !(seconds > 0) ||
        seconds > 86400) {
        throw std::invalid_argument(
            fmt::format("{} is batch, none or a number of seconds, not {}", option, text));
    }
    return durability::interval(
        std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds)));
}

mode_t parse_mode(std::string_view text, std::string_view option) {
    mode_t mode = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size() ||
        mode > 0777) {
        throw std::invalid_argument(
            fmt::format("{} is octal, as 600 or 666, not {}", option, text));
    }
    return mode;
}

namespace {

endpoint place_of(std::string_view text, bool is_unix) {
    constexpr std::string_view prefix = "unix:";
    if (text.starts_with(prefix)) {
        return endpoint::parse(text);
    }
    if (is_unix && text.starts_with('@')) {
        return endpoint::unix_abstract(text.substr(1));
    }
    if (is_unix || text.find('/') != text.npos || text.starts_with('.')) {
        return endpoint::unix_path(text);
    }
    try {
        return endpoint::parse(text);
    } catch (const std::system_error&) {
        if (text.find('%') != text.npos) {
            throw; // of its interface it is said what is wrong
        }
        throw std::invalid_argument(
            fmt::format("{} is no place to listen at: say an address in numbers and a port, as "
                        "127.0.0.1:8514 or [::1]:8514, a path, as /run/log.sock or ./log.sock, or "
                        "fd:NAME; names are not looked up; for localhost say 127.0.0.1",
                        text.empty() ? "nothing" : text));
    }
}

} // namespace

void set_place(listen_options& of, std::string_view text, bool is_unix) {
    if (constexpr std::string_view inherited = "fd:"; text.starts_with(inherited)) {
        of.inherited = text.substr(inherited.size());
        if (of.inherited.empty()) {
            throw std::invalid_argument("fd: is followed by the name of a socket that systemd has "
                                        "made, its FileDescriptorName=");
        }
        return;
    }
    of.at = place_of(text, is_unix);
}

std::chrono::seconds age_of_days(double days, std::string_view option) {
    constexpr double days_max = 100'000;
    if (!(days > 0 && days <= days_max)) {
        throw std::invalid_argument(
            fmt::format("{} is a number of days, more than nothing, not {}", option, days));
    }
    return std::max(std::chrono::seconds(1),
                    std::chrono::duration_cast<std::chrono::seconds>(
                        std::chrono::duration<double, std::ratio<86400>>(days)));
}

uid_t parse_user(std::string_view text, std::string_view option) {
    uid_t number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    if (!text.empty() && read.ec == std::errc() && read.ptr == text.data() + text.size()) {
        if (number == static_cast<uid_t>(-1)) {
            throw std::invalid_argument(
                fmt::format("{}: {} is no user: it stands for none", option, number));
        }
        return number;
    }
    passwd entry{};
    passwd* found = nullptr;
    std::string memory(16u << 10, ' ');
    const int error =
        ::getpwnam_r(std::string(text).c_str(), &entry, memory.data(), memory.size(), &found);
    if (found == nullptr) {
        throw std::invalid_argument(fmt::format(
            "{}: there is no user {}{}", option, text,
            error != 0 ? ": " + std::generic_category().message(error) : std::string()));
    }
    return entry.pw_uid;
}

std::span<const size_limit> size_limits() noexcept {
    using options = collector_options;
    // Parsers and decompressors count in 32 bits. A line has to be a record, also where each of its
    // bytes is written as six.
    constexpr std::size_t bytes_most = 0xffff'ffff;
    constexpr std::size_t line_most = 8u << 20;
    static_assert(6 * line_most < record::message_bytes_max);
    static_assert(line_most <= line_splitter::counted_bytes_max);
    constexpr std::size_t line_bytes_least = 480; // RFC 5424: what every receiver takes
    static constexpr size_limit all[] = {
        {"head_bytes", [](options& of) -> auto& { return of.limits.http.head_bytes_max; },
         16u << 20},
        {"body_bytes", [](options& of) -> auto& { return of.limits.http.body_bytes_max; },
         bytes_most},
        {"decompressed_bytes",
         [](options& of) -> auto& { return of.limits.decompression.bytes_max; }, bytes_most},
        {"record_bytes", [](options& of) -> auto& { return of.limits.json.record_bytes_max; },
         line_most},
        {"line_bytes", [](options& of) -> auto& { return of.limits.line_bytes_max; }, line_most,
         line_bytes_least},
        {"held_bytes", [](options& of) -> auto& { return of.limits.held_bytes_max; },
         std::size_t{1} << 40},
        {"connections", [](options& of) -> auto& { return of.limits.connections_max; }, 1u << 20},
        {"connections_per_peer",
         [](options& of) -> auto& { return of.limits.connections_per_peer; }, 1u << 20},
    };
    return all;
}

std::span<const time_limit> time_limits() noexcept {
    using options = collector_options;
    static constexpr time_limit all[] = {
        {"idle_seconds", [](options& of) -> auto& { return of.limits.idle; }},
        {"head_seconds", [](options& of) -> auto& { return of.limits.head; }},
        {"body_seconds", [](options& of) -> auto& { return of.limits.body; }},
        {"answer_seconds", [](options& of) -> auto& { return of.limits.answer; }},
        {"acknowledgement_seconds", [](options& of) -> auto& { return of.limits.acknowledgement; }},
        {"handshake_seconds", [](options& of) -> auto& { return of.tls.handshake; }},
    };
    return all;
}

clock::duration parse_seconds(std::string_view text, std::string_view option) {
    double seconds = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() ||
        !(seconds >= 0 && seconds < 1e9)) {
        throw std::invalid_argument(fmt::format("{} is a number of seconds, not {}", option, text));
    }
    return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
}

void set_limit(collector_options& options, std::string_view text, std::string_view option) {
    const auto equals = std::min(text.find('='), text.size());
    const std::string_view name = text.substr(0, equals);
    const std::string_view value = text.substr(std::min(equals + 1, text.size()));
    const std::string_view shown = value.empty() ? "nothing" : value;
    std::string known;
    for (const size_limit& each : size_limits()) {
        if (each.name == name) {
            std::size_t& number = each.of(options);
            const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
            if (read.ec != std::errc() || read.ptr != value.data() + value.size() || number == 0 ||
                number > each.most) {
                throw std::invalid_argument(fmt::format(
                    "{} {}: a whole number, more than nothing and at most {}, is needed, not {}",
                    option, name, each.most, shown));
            }
            if (number < each.least) {
                throw std::invalid_argument(fmt::format("{} {}: at least {} is needed, not {}",
                                                        option, name, each.least, value));
            }
            return;
        }
        known += fmt::format(" {}", each.name);
    }
    for (const time_limit& each : time_limits()) {
        if (each.name == name) {
            if (value.empty()) {
                throw std::invalid_argument(
                    fmt::format("{} {}: a number of seconds is needed, not nothing", option, name));
            }
            each.of(options) = parse_seconds(value, fmt::format("{} {}", option, name));
            if (each.of(options) == clock::duration::zero()) {
                throw std::invalid_argument(fmt::format(
                    "{} {} must be more than nothing: nobody could be so fast", option, name));
            }
            return;
        }
        known += fmt::format(" {}", each.name);
    }
    throw std::invalid_argument(fmt::format(
        "{} is NAME=NUMBER, and {} is no name of a limit; there are:{}", option, name, known));
}

std::string needs_restart(collector_options before, collector_options after) {
    std::string what;
    const auto add = [&what](bool differs, std::string_view name) {
        if (differs) {
            what += what.empty() ? "" : ", ";
            what += name;
        }
    };
    const auto log_is_same = [](const named_log_options& one, const named_log_options& other) {
        return one.name == other.name && one.path == other.path && one.form == other.form &&
               one.ack == other.ack && one.durable == other.durable &&
               one.queue_records == other.queue_records && one.queue_bytes == other.queue_bytes &&
               one.segment_bytes_max == other.segment_bytes_max &&
               one.preallocated_bytes == other.preallocated_bytes &&
               one.keep.files == other.keep.files && one.keep.age == other.keep.age &&
               one.keep.bytes == other.keep.bytes;
    };
    add(!std::ranges::equal(before.logs, after.logs, log_is_same), "logs");
    const auto place_is_same = [](const listen_options& one, const listen_options& other) {
        return is_same_listener(one, other) && one.mode == other.mode && one.log == other.log &&
               one.secured == other.secured;
    };
    add(!std::ranges::equal(before.listeners, after.listeners, place_is_same) ||
            before.tls.is_wanted() != after.tls.is_wanted(),
        "places to listen at");
    add(!std::ranges::equal(before.queues, after.queues, is_same_queue), "queues");
    bool limits_differ = before.drain != after.drain;
    for (const size_limit& each : size_limits()) {
        limits_differ = limits_differ || each.of(before) != each.of(after);
    }
    for (const time_limit& each : time_limits()) {
        limits_differ = limits_differ || (each.of(before) != each.of(after) &&
                                          &each.of(before) != &before.tls.handshake);
    }
    add(limits_differ, "limits");
    return what;
}

#ifndef SAPWOOD_HAS_TOML
bool can_read_settings() noexcept {
    return false;
}

collector_options read_settings(const std::string& path) {
    throw std::runtime_error(
        fmt::format("{} cannot be read: this program was built without toml++", path));
}
#endif

} // namespace sapwood::collector
