#include "action_logs.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <system_error>
#include <utility>

namespace sapwood::tools {

/// Where two of its records say that it is: one alone may have a clock that is wrong, and would
/// hold all that follows back until the other logs are read.
void action_logs::stream::reach(std::int64_t ns) noexcept {
    reached_ns = std::min(ns, last_ns.value_or(ns));
    last_ns = ns;
}

action_logs::action_logs(options wanted, action_forest& to)
    : options_(std::move(wanted)),
      to_(to) {}

void action_logs::fail(std::string_view why) {
    has_failed_ = true;
    options_.complain(why);
}

void action_logs::add(const std::string& log) {
    auto added = std::make_unique<stream>();
    std::vector<std::string> left_out;
    try {
        const bool is_alone = log == standard_input || options_.has_one_file;
        added->files = is_alone ? std::vector<log_file>{{.path = log}} : files_of(log, &left_out);
    } catch (const std::system_error& error) {
        fail(error.what());
        return;
    }
    for (const std::string& each : left_out) {
        options_.complain(fmt::format("{} is left out: sapwood decompresses .zst only; zcat {} | "
                                      "sapwood tree ... -",
                                      each, each));
    }
    streams_.push_back(std::move(added));
}

void action_logs::read() {
    for (;;) {
        stream* behind = nullptr;
        for (const auto& each : streams_) {
            if (!each->is_over && (behind == nullptr || each->reached_ns < behind->reached_ns)) {
                behind = each.get();
            }
        }
        if (behind == nullptr) {
            return;
        }
        take_block(*behind, next_block(*behind));
        if (behind->is_live) {
            options_.on_pause();
        }
    }
}

/// Empty, and `is_over`, at the end.
std::string_view action_logs::next_block(stream& from) {
    for (;;) {
        try {
            if (from.reader == nullptr) {
                if (from.next_file == from.files.size()) {
                    from.is_over = true;
                    return {};
                }
                const log_file& file = from.files[from.next_file++];
                from.line = 0;
                from.is_live = is_live(file.path);
                from.reader = std::make_unique<block_reader>(file);
            }
            const std::string_view block = from.reader->next();
            if (!block.empty()) {
                return block;
            }
        } catch (const std::system_error& error) {
            fail(error.what());
        }
        from.reader.reset();
    }
}

void action_logs::take_block(stream& from, std::string_view block) {
    while (!block.empty()) {
        ++from.line;
        ++lines_;
        take_line_of(from, take_line(block));
    }
}

void action_logs::take_line_of(stream& from, std::string_view line) {
    const std::string& wanted = options_.task;
    if (!wanted.empty() &&
        ::memmem(line.data(), line.size(), wanted.data(), wanted.size()) == nullptr) {
        return;
    }
    const action_reader::outcome outcome = reader_.read(line);
    if (outcome == action_reader::outcome::none) {
        return;
    }
    if (outcome == action_reader::outcome::broken) {
        if (broken_++ == 0) {
            first_broken_ = fmt::format("{}:{}: {}", from.file().path, from.line, reader_.why());
        }
        return;
    }
    const action_record& record = reader_.record();
    if (record.time_ns) {
        from.reach(*record.time_ns);
    }
    const log_line& numbered = reader_.numbered();
    const std::uint64_t superseded_from = from.file().superseded_from;
    if (numbered.is_numbered && ((superseded_from != 0 && numbered.number >= superseded_from) ||
                                 !from.seen.is_new(numbered))) {
        ++repeated_;
        return;
    }
    if (record.task.starts_with(wanted)) {
        to_.add(record);
    }
}

} // namespace sapwood::tools
