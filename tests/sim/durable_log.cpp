#include "durable_log.hpp"

#include "mover.hpp"
#include "sim_machine.hpp"
#include "somebody.hpp"

#include <sapwood/file_sink.hpp>
#include <sapwood/numbered_line.hpp>

#include <charconv>
#include <fmt/format.h>
#include <system_error>

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

durable_log durable_log::read(const sim_world& world, std::string_view path, bool is_recovered,
                              bool may_be_torn, bool may_begin_anew) {
    durable_log found;
    found.may_be_torn = may_be_torn;
    found.may_begin_anew = may_begin_anew;
    // A power cut may keep a line of before somebody cut the file behind those of after.
    found.must_be_in_order = is_recovered && !may_begin_anew;
    const std::string folder(path.substr(0, path.rfind('/') + 1));
    const std::string_view name = path.substr(folder.size());
    for (const std::string& each : world.names(folder)) { // in order, as their numbers are
        std::uint64_t end = 0;
        const std::string_view ending = std::string_view(each).substr(
            each.starts_with(fmt::format("{}.", name)) ? name.size() + 1 : each.size());
        const auto got = std::from_chars(ending.data(), ending.data() + ending.size(), end);
        const std::string_view further(got.ptr, ending.data() + ending.size());
        if (ending.empty() || got.ec != std::errc{}) {
            continue;
        }
        if (further.empty() || further.front() == '-') { // -2 where the name was taken
            found.take(world.contents(folder + each).value_or(""), end, false);
        } else if (further.front() == 'T') { // rotated at that time: all of it counts
            found.take(world.contents(folder + each).value_or(""), UINT64_MAX, false);
        }
    }
    found.take(world.contents(path).value_or(""), UINT64_MAX, is_recovered);
    for (const auto& [place, message] : found.places) {
        found.messages.append(message) += '\n';
    }
    return found;
}

durable_log durable_log::read_moved(sim_world& world, std::string_view path, bool may_be_cut) {
    durable_log found;
    found.may_be_torn = may_be_cut;
    found.may_begin_anew = true;
    found.must_be_in_order = !may_be_cut;
    world.machine().files.visit_regular(
        [&](const std::string& each, const detail::sim_files::inode& file) {
            // What is torn off counts for nothing, unless it is somebody's second name for the log.
            found.take(file.bytes.cached(), each.ends_with(".torn") ? 0 : UINT64_MAX, each == path);
        });
    return found;
}

std::string durable_log::messages_in_making(const sim_world& world, std::string_view path) {
    const std::string lines = world.contents(std::string(path) + ".next").value_or("");
    std::string messages;
    std::string_view rest = lines;
    for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
        const std::string_view line = rest.substr(0, end);
        if (numbered_line::parse(line).is != numbered_line::state::whole) {
            break;
        }
        messages.append(message_of(line)) += '\n';
        rest.remove_prefix(end + 1);
    }
    return messages;
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
        if (parsed.place < last && !is_again && must_be_in_order && !wrong) {
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

std::optional<std::string> objection_to_last(lsn last, lsn acknowledged) {
    if (last >= acknowledged) {
        return std::nullopt;
    }
    return fmt::format("numbers go on behind {}, and {} was acknowledged", to_number(last),
                       to_number(acknowledged));
}

std::optional<std::string> open_again(sim_world& world, std::string path, mover* moved,
                                      lsn acknowledged) {
    world.heal();
    std::optional<std::string> refusal;
    const auto open = [&] {
        refusal.reset();
        return world.run(
            [](std::string where, lsn told, std::optional<std::string>& why) -> task<> {
                try {
                    const file_sink_options file{.path = where, .numbered = true};
                    file_sink sink = co_await file_sink::open(file);
                    why = objection_to_last(sink.last_lsn(), told);
                    co_await sink.close();
                } catch (const std::system_error& error) {
                    why = error.what();
                }
            }(path, acknowledged, refusal));
    };
    constexpr std::string_view not_ended = "opening the log again did not come to an end";
    if (moved != nullptr) {
        moved->come_between(world.chance());
    }
    if (moved != nullptr && moved->is_in_the_way()) {
        if (!open()) {
            return std::string(not_ended);
        }
        if (moved->is_planted() && !refusal) {
            return "what somebody had planted in the log's place was opened as the log";
        }
        moved->put_right();
    }
    if (!open()) {
        return std::string(not_ended);
    }
    return refusal;
}

} // namespace sapwood::simulation
