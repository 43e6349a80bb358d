#include "durable_log.hpp"

#include "somebody.hpp"

#include <sapwood/numbered_line.hpp>

#include <charconv>
#include <fmt/format.h>

namespace sapwood::simulation {

namespace {

/// A line of the log's own.
constexpr std::string_view own_sign = "\\(log)";

/// `date time producer level message`, of which the message.
std::string_view message_of(std::string_view line) {
    std::size_t at = numbered_line::head_bytes;
    for (int field = 0; field < 4; ++field) {
        at = line.find(' ', at) + 1;
    }
    return line.substr(at);
}

} // namespace

durable_log durable_log::read(const sim_world& world, std::string_view name, bool is_recovered,
                              bool may_be_torn, bool may_begin_anew) {
    durable_log found;
    found.may_be_torn = may_be_torn;
    found.may_begin_anew = may_begin_anew;
    for (const std::string& each : world.names()) { // in order, as their numbers are
        std::uint64_t end = 0;
        const std::string_view ending = std::string_view(each).substr(
            each.starts_with(fmt::format("{}.", name)) ? name.size() + 1 : each.size());
        const auto got = std::from_chars(ending.data(), ending.data() + ending.size(), end);
        const std::string_view further(got.ptr, ending.data() + ending.size());
        if (ending.empty() || got.ec != std::errc{}) {
            continue;
        }
        if (further.empty() || further.front() == '-') { // -2 where the name was taken
            found.take(world.contents("/" + each).value_or(""), end, false);
        } else if (further.front() == 'T') { // rotated at that time: all of it counts
            found.take(world.contents("/" + each).value_or(""), UINT64_MAX, false);
        }
    }
    found.take(world.contents(fmt::format("/{}", name)).value_or(""), UINT64_MAX, is_recovered);
    for (const auto& [place, message] : found.places) {
        found.messages.append(message) += '\n';
    }
    return found;
}

void durable_log::take(std::string_view text, std::uint64_t end, bool is_recovered) {
    lsn last = lsn::none;
    if (may_begin_anew) {
        places.clear(); // only within one file no number is two records
    }
    while (!text.empty()) {
        const auto newline = text.find('\n');
        const std::string_view line = text.substr(0, newline);
        text.remove_prefix(newline == text.npos ? text.size() : newline + 1);
        const numbered_line parsed = numbered_line::parse(line);
        const bool is_whole = newline != text.npos && parsed.is == numbered_line::state::whole;
        if (!is_whole) {
            if (is_recovered && !wrong && !may_be_torn) {
                wrong = fmt::format("a torn line is to be seen behind {}", to_number(last));
            }
            continue;
        }
        const std::string_view message = message_of(line);
        all.append(message) += '\n';
        if (message.ends_with(own_sign) || (parsed.place == lsn::none && is_somebodys(line)) ||
            to_number(parsed.place) >= end) {
            continue;
        }
        const bool is_again = places.contains(parsed.place);
        // A power cut may keep a line of before somebody cut the file behind those of after.
        if (parsed.place < last && !is_again && is_recovered && !may_begin_anew && !wrong) {
            wrong =
                fmt::format("number {} stands behind {}", to_number(parsed.place), to_number(last));
        }
        last = std::max(last, parsed.place);
        const auto [at, is_new] = places.emplace(parsed.place, message);
        if (!is_new && at->second != message && !wrong) {
            wrong = fmt::format("number {} is two records", to_number(parsed.place));
        }
    }
}

} // namespace sapwood::simulation
