// Lines of JSON that records in actions have made, as tests look at them. Only what the log says
// itself is read, and only in the form in which json_layout writes it.
#pragma once

#include "support/log_lines.hpp"

#include <sapwood/json_layout.hpp>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sapwood::test {

struct action_line {
    std::string text;
    std::string level;
    std::string message;
    std::string uuid;
    /// "2,3,1"
    std::string place;
    std::string type;
    std::string status;
    std::string outcome;
    std::string exception;
    std::string reason;
    std::string source;
    long children = -1;
    double duration = -1;
};

/// The text of a member, without its quotes; empty where there is none.
[[nodiscard]] inline std::string member_of(std::string_view line, std::string_view name) {
    const std::string begin = '"' + std::string(name) + "\":";
    // Not std's, which is slow where tests are compiled as they are.
    const void* const found = ::memmem(line.data(), line.size(), begin.data(), begin.size());
    if (found == nullptr) {
        return {};
    }
    const auto at = static_cast<std::size_t>(static_cast<const char*>(found) - line.data());
    const std::string_view rest = line.substr(at + begin.size());
    if (rest.front() == '"') {
        std::size_t end = 1;
        while (rest[end] != '"') {
            end += rest[end] == '\\' ? 2 : 1;
        }
        return std::string(rest.substr(1, end - 1));
    }
    if (rest.front() == '[') {
        return std::string(rest.substr(1, rest.find(']') - 1));
    }
    return std::string(rest.substr(0, rest.find_first_of(",}")));
}

[[nodiscard]] inline action_line read_action_line(const std::string& line) {
    constexpr std::string_view users = ",\"fields\":{";
    const void* const end = ::memmem(line.data(), line.size(), users.data(), users.size());
    const std::string_view own(
        line.data(), end != nullptr
                         ? static_cast<std::size_t>(static_cast<const char*>(end) - line.data())
                         : line.size());
    action_line read;
    read.text = line;
    read.level = member_of(own, "level");
    read.message = member_of(own, "message");
    read.uuid = member_of(own, "task_uuid");
    read.place = member_of(own, "task_level");
    read.type = member_of(own, "action_type");
    read.status = member_of(own, "action_status");
    read.outcome = member_of(own, "outcome");
    read.exception = member_of(own, "exception");
    read.reason = member_of(own, "reason");
    read.source = member_of(own, "source");
    if (const std::string children = member_of(own, "children"); !children.empty()) {
        read.children = std::atol(children.c_str());
        read.duration = std::atof(member_of(own, "duration").c_str());
    }
    return read;
}

/// Each line as `message@place`, with `+` for a start, and a letter of the outcome for an end.
[[nodiscard]] inline std::vector<std::string> outline_of(const std::string& text) {
    std::vector<std::string> told;
    for (const std::string& each : lines_of(text)) {
        const action_line line = read_action_line(each);
        const std::string mark = line.status.empty()        ? ""
                                 : line.status == "started" ? "+"
                                 : !line.outcome.empty()    ? line.outcome.substr(0, 1)
                                                            : line.status.substr(0, 1);
        told.push_back(line.message + mark + (line.place.empty() ? "" : "@" + line.place));
    }
    return told;
}

/// A log of JSON into memory.
struct action_log {
    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(256u << 20);
    /// A loop's thread never waits for room.
    std::size_t ring_bytes = 4u << 20;
    logger log{options()};

    [[nodiscard]] logger_options options() const {
        logger_options made;
        made.outputs.push_back({.sink = std::make_unique<memory_log_sink>(memory),
                                .form = std::make_unique<json_layout>()});
        made.ring_bytes = ring_bytes;
        return made;
    }

    [[nodiscard]] std::vector<action_line> lines() const {
        log.flush_blocking();
        std::vector<action_line> read;
        for (const std::string& line : lines_of(memory->text())) {
            read.push_back(read_action_line(line));
        }
        return read;
    }

    /// As outline_of().
    [[nodiscard]] std::vector<std::string> outline() const {
        log.flush_blocking();
        return outline_of(memory->text());
    }
};

} // namespace sapwood::test
