// The part of a durable_writer that deals with a signal's handler: what it does, on any thread;
// and, where the process has survived, what becomes of the lines that it has written. They are in
// the file, of which no sync may have succeeded: as others that are not synced they come again
// where one fails.
#include "durable_writer.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sys/stat.h>

namespace sapwood::detail {

namespace {

/// Behind the lines of numbered `text` that have lower numbers.
std::size_t place_of(lsn number, std::string_view text) noexcept {
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        if (numbered_line::parse(text.substr(at, end - at)).place > number) {
            break;
        }
        at = std::min(end + 1, text.size());
    }
    return at;
}

/// A line that stands for those that cannot be had, as others that tell of missing records.
void append_gap(std::string& to, lsn first, lsn last) {
    const std::uint64_t count = to_number(last) - to_number(first) + 1;
    const std::size_t begin = to.size();
    to.append(numbered_line::head_bytes, ' ');
    to += count == 1 ? fmt::format("1 record is missing here, number {}: ", to_number(last))
                     : fmt::format("{} records are missing here, numbers {} to {}: ", count,
                                   to_number(first), to_number(last));
    to += "a signal's handler wrote them, and they are not in the file any more \\(log)";
    line_head(last).put(to.data() + begin, to.size() - begin);
    to += '\n';
}

} // namespace

// --- the handler ---

/// Where the lines begin that are the handler's, in the file and by number.
void durable_writer::note_crash_begin() noexcept {
    if (crash_begin_.load(std::memory_order_relaxed) != nowhere) {
        return;
    }

    struct ::stat status {};

    const bool is_known = ::fstat(crash_.fd(), &status) == 0;
    crash_begin_.store(is_known ? static_cast<std::uint64_t>(status.st_size) : 0,
                       std::memory_order_relaxed);
    crash_first_.store(crash_next_.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

bool durable_writer::write_in_crash(std::span<const char> lines) noexcept {
    note_crash_begin();
    crash_writes_.fetch_add(1, std::memory_order_release);
    std::string_view rest(lines.data(), lines.size());
    bool is_written = false;
    if (!rest.empty() && rest.data() == batch_.load(std::memory_order_acquire)) {
        rest.remove_prefix(std::min(batch_done_.load(std::memory_order_relaxed), rest.size()));
        if (const std::size_t part = batch_part_.exchange(0, std::memory_order_acquire)) {
            if (!crash_.write(text_)) {
                return false;
            }
            is_text_saved_.store(true, std::memory_order_release);
            rest.remove_prefix(std::min(part, rest.size()));
        }
        end_batch();
        is_written = true;
    }
    if (!is_numbered_) {
        return rest.empty() ? is_written : crash_.write(rest);
    }
    has_crashed_.store(true, std::memory_order_release);
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        if (!put_in_crash(rest.substr(0, end))) {
            break;
        }
        is_written = true;
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return is_written;
}

/// Without an allocation, and a line of usual length by one system call.
bool durable_writer::put_in_crash(std::string_view line) noexcept {
    char text[4096];
    const std::uint64_t number = crash_next_.load(std::memory_order_relaxed);
    line_head(static_cast<lsn>(number)).put_apart(text, line);
    std::size_t bytes = numbered_line::head_bytes;
    if (line.size() < sizeof(text) - bytes) {
        bytes += line.copy(text + bytes, line.size());
        text[bytes++] = '\n';
        if (!crash_.write({text, bytes})) {
            return false;
        }
    } else if (!crash_.write({text, bytes}) || !crash_.write(line) ||
               !crash_.write(std::string_view("\n"))) {
        return false;
    }
    crash_next_.store(number + (is_child_ ? 0 : 1), std::memory_order_relaxed);
    return true;
}

// --- who has survived it ---

bool durable_writer::has_crash_lines() const noexcept {
    return crash_writes_.load(std::memory_order_acquire) != crash_writes_kept_;
}

/// Numbers go on behind those that the handler has taken.
void durable_writer::take_crash_numbers() noexcept {
    if (has_crashed_.exchange(false, std::memory_order_acquire)) {
        heads_.set(static_cast<lsn>(crash_next_.load(std::memory_order_relaxed)));
    }
}

/// Whose batch the handler has written, all of it, will not give it once more.
void durable_writer::keep_saved_text() {
    if (text_.empty() || !is_text_saved_.exchange(false, std::memory_order_acquire)) {
        return;
    }
    unsynced_.append(text_, kept_);
    keep(text_.size());
    text_.clear();
    kept_ = 0;
    is_text_kept_ = true;
    sync_at_ = clock::time_point::min();
}

/// What a handler has written becomes a part of what is not synced.
task<> durable_writer::keep_what_crash_wrote() {
    if (is_child_ || !has_crash_lines()) [[likely]] {
        co_return;
    }
    const std::uint32_t seen = crash_writes_.load(std::memory_order_acquire);
    keep_saved_text();
    if (text_.empty()) {
        take_crash_numbers();
    }
    std::string text;
    try {
        text = co_await file_.read_from(crash_begin_.load(std::memory_order_relaxed));
    } catch (const std::system_error&) { // then nothing of it is to be had
    }
    text.resize(text.rfind('\n') + 1); // npos + 1 is 0
    if (is_numbered_) {
        keep_crash_lines(text, static_cast<lsn>(crash_first_.load(std::memory_order_relaxed)),
                         heads_.next());
    } else {
        unsynced_.append(text);
    }
    crash_writes_kept_ = seen;
    crash_begin_.store(nowhere, std::memory_order_relaxed);
    sync_at_ = clock::time_point::min();
}

/// Of those of `text`, what the handler has numbered from `first` on and below `end`.
void durable_writer::keep_crash_lines(std::string_view text, lsn first, lsn end) {
    std::string found;
    lsn next = first;
    while (!text.empty()) {
        const std::size_t newline = text.find('\n');
        const auto line = numbered_line::parse(text.substr(0, newline));
        if (line.is == numbered_line::state::whole && line.place >= next && line.place < end) {
            if (line.place > next) {
                append_gap(found, next, lsn{to_number(line.place) - 1});
            }
            found.append(text.substr(0, newline + 1));
            next = line.place + 1;
        }
        text.remove_prefix(newline + 1);
    }
    if (next < end) {
        append_gap(found, next, lsn{to_number(end) - 1});
    }
    unsynced_.insert(place_of(first, unsynced_), found);
}

} // namespace sapwood::detail
