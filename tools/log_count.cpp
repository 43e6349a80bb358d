#include "log_count.hpp"

#include <algorithm>

namespace sapwood::tools {

namespace {

constexpr std::int64_t one_minute = 60;
constexpr std::int64_t one_hour = 60 * one_minute;
constexpr std::int64_t one_day = 24 * one_hour;
constexpr std::int64_t steps[] = {1,
                                  2,
                                  5,
                                  10,
                                  15,
                                  30,
                                  one_minute,
                                  2 * one_minute,
                                  5 * one_minute,
                                  10 * one_minute,
                                  15 * one_minute,
                                  30 * one_minute,
                                  one_hour,
                                  2 * one_hour,
                                  3 * one_hour,
                                  6 * one_hour,
                                  12 * one_hour,
                                  one_day,
                                  2 * one_day,
                                  7 * one_day,
                                  28 * one_day,
                                  91 * one_day,
                                  364 * one_day,
                                  3640 * one_day};

/// Of what the collector says of a sender, what tells senders apart: a port is another one for each
/// connection, and what stands behind is of the one record.
std::string_view sender_of(std::string_view from, std::string& into) {
    constexpr std::string_view known_of_sender[] = {"pid=", "uid=", "gid=", "cert="};
    into.clear();
    for (std::size_t word = 0; !from.empty(); ++word) {
        std::string_view text = take_word(from);
        const bool is_known = std::ranges::any_of(
            known_of_sender, [text](std::string_view each) { return text.starts_with(each); });
        if (word > 0 && !is_known) {
            if (word > 1 || text.find('=') != text.npos) {
                break;
            }
            if (!into.starts_with("amqp")) { // a queue may have a colon in its name
                const bool is_ipv6 = text.find(':') != text.rfind(':');
                text = text.substr(0, text.rfind(is_ipv6 ? '.' : ':'));
            }
        }
        into += word == 0 ? "" : " ";
        into += text;
    }
    return into;
}

} // namespace

void name_count::add(std::string_view name) {
    name = name.substr(0, name_bytes_max);
    if (last_count_ != nullptr && name == last_) {
        ++*last_count_;
        return;
    }
    auto at = counts_.find(name);
    if (at == counts_.end()) {
        if (counts_.size() >= names_max) {
            ++others_;
            return;
        }
        at = counts_.emplace(name, 0).first;
    }
    last_ = at->first; // neither moves when others come
    last_count_ = &at->second;
    ++at->second;
}

void time_count::add(std::int64_t ns) {
    const std::int64_t second = ns / nanoseconds_per_second;
    if (last_count_ != nullptr && second >= last_begin_ && second - last_begin_ < step_seconds_) {
        ++*last_count_;
        return;
    }
    while (counts_.size() >= steps_max) {
        widen();
    }
    last_begin_ = second - second % step_seconds_;
    last_count_ = &counts_[last_begin_];
    ++*last_count_;
}

void time_count::widen() {
    step_seconds_ = *std::upper_bound(std::begin(steps), std::end(steps) - 1, step_seconds_);
    counts_ = by(step_seconds_);
    last_count_ = nullptr;
}

std::int64_t time_count::fitting_step(std::size_t rows) const noexcept {
    if (counts_.empty()) {
        return step_seconds_;
    }
    const std::int64_t span = counts_.rbegin()->first - counts_.begin()->first;
    for (const std::int64_t each : steps) {
        if (each >= step_seconds_ && span / each < static_cast<std::int64_t>(rows)) {
            return each;
        }
    }
    return *(std::end(steps) - 1);
}

std::map<std::int64_t, std::uint64_t> time_count::by(std::int64_t step_seconds) const {
    std::map<std::int64_t, std::uint64_t> wider;
    for (const auto& [begin, count] : counts_) {
        wider[begin - begin % step_seconds] += count;
    }
    return wider;
}

void log_count::add(const log_file& file) {
    block_reader reader(file);
    ++files;
    for (std::string_view block = reader.next(); !block.empty(); block = reader.next()) {
        while (!block.empty()) {
            const std::string_view line = take_line(block);
            const log_line& parsed = parser_.parse(line);
            if (parsed.is_numbered &&
                ((file.superseded_from != 0 && parsed.number >= file.superseded_from) ||
                 !seen_.is_new(parsed))) {
                ++repeated;
            } else {
                add_line(parsed);
            }
        }
    }
    bytes += reader.bytes();
}

void log_count::add_line(const log_line& line) {
    numbered += line.is_numbered ? 1 : 0;
    if (line.is == log_line::form::none) {
        ++others;
        return;
    }
    ++records;
    if (line.importance) {
        ++by_level[static_cast<std::size_t>(*line.importance)];
    } else {
        ++without_level;
    }
    if (line.time_ns) {
        first_ns = std::min(first_ns.value_or(*line.time_ns), *line.time_ns);
        last_ns = std::max(last_ns.value_or(*line.time_ns), *line.time_ns);
        times.add(*line.time_ns);
    }
    if (!line.thread.empty() && line.from.empty()) {
        threads.add(line.thread.substr(0, line.thread.find('#')));
    }
    if (!line.logger.empty()) {
        loggers.add(line.logger);
    }
    if (!line.from.empty()) {
        senders.add(is_source(line.from) ? sender_of(line.from, sender_) : line.from);
    }
    if (line.is == log_line::form::json) {
        if (!line.tag.empty()) {
            tags.add(line.tag);
        }
    } else if (!line.from.empty() || line.is == log_line::form::logfmt) {
        for (const std::string_view name : {"tag", "app"}) {
            if (const auto tag = parser_.field(name)) {
                tags.add(*tag);
                break;
            }
        }
    }
}

} // namespace sapwood::tools
