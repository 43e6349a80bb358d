// The part of a durable_writer that deals with a signal's handler: what it does, on any thread;
// and, where the process has survived, how the log goes on. The file is looked after as the next
// process would, and what was not synced and is not there comes again.
#include "durable_writer.hpp"

#include "take_marks.hpp"

#include <sapwood/shield.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace sapwood::detail {

namespace {

constexpr std::string_view why_missing =
    "a signal's handler wrote them, and they are not in this file \\(log)";

/// A line that stands for those that are not there, as others that tell of missing records.
void append_gap(std::string& to, std::uint64_t first, std::uint64_t last) {
    const std::uint64_t count = last - first + 1;
    const std::size_t begin = to.size();
    to.append(numbered_line::head_bytes, ' ');
    to += count == 1
              ? fmt::format("1 record is missing here, number {}: ", last)
              : fmt::format("{} records are missing here, numbers {} to {}: ", count, first, last);
    to += why_missing;
    line_head(lsn{last}).put(to.data() + begin, to.size() - begin);
    to += '\n';
}

/// The same where the log has them, in the file before this one, which no sync of ours reaches.
void append_news(std::string& to, std::uint64_t first, std::uint64_t last) {
    const std::size_t begin = to.size();
    to.append(numbered_line::head_bytes, ' ');
    to += fmt::format("the records with the numbers {} to {} are in the file before this one, and "
                      "perhaps not on disk: a signal's handler wrote them \\(log)",
                      first, last);
    line_head(lsn::none).put(to.data() + begin, to.size() - begin);
    to += '\n';
}

} // namespace

// --- the handler ---

/// The lines that the loop was writing, which have lower numbers than what comes now. False where
/// they are not all there.
bool durable_writer::finish_text_in_crash() noexcept {
    const std::string_view text(flight_text_.load(std::memory_order_relaxed),
                                flight_bytes_.load(std::memory_order_relaxed));
    const std::size_t saved = crash_.finish(text);
    flight_saved_.store(saved, std::memory_order_release);
    if (saved < text.size()) {
        return false;
    }
    next_.store(flight_next_.load(std::memory_order_relaxed), std::memory_order_seq_cst);
    batch_part_.store(0, std::memory_order_seq_cst);
    return true;
}

bool durable_writer::write_in_crash(std::span<const char> lines) noexcept {
    const crash_file::turn at_work(crash_);
    const std::string_view all(lines.data(), lines.size());
    // In this order: where the loop goes on to the next piece of its batch, lines come twice then
    // and none is left out.
    const bool is_batch = !all.empty() && all.data() == batch_.load(std::memory_order_seq_cst);
    std::size_t done = batch_done_.load(std::memory_order_seq_cst);
    if (const std::size_t part = batch_part_.load(std::memory_order_seq_cst)) {
        if (!finish_text_in_crash()) {
            kept_in_crash_.store(is_batch ? std::min(done, all.size()) : 0,
                                 std::memory_order_relaxed);
            return false;
        }
        done += part;
        batch_done_.store(done, std::memory_order_seq_cst);
    }
    done = is_batch ? std::min(done, all.size()) : 0;
    if (!is_numbered_) {
        done += crash_.put(all.substr(done));
    }
    while (is_numbered_ && done < all.size()) {
        const std::size_t end = std::min(all.find('\n', done), all.size());
        if (!put_in_crash(all.substr(done, end - done))) {
            break;
        }
        done = std::min(end + 1, all.size());
    }
    if (is_batch) { // it may be called once more
        batch_done_.store(done, std::memory_order_seq_cst);
    }
    kept_in_crash_.store(done, std::memory_order_relaxed);
    return done == all.size() && crash_.fd() >= 0;
}

/// Without an allocation.
bool durable_writer::put_in_crash(std::string_view line) noexcept {
    char head[numbered_line::head_bytes];
    const std::uint64_t number = next_.load(std::memory_order_seq_cst);
    line_head(lsn{number}).put_apart(head, line);
    const bool is_there = crash_.put_line({head, sizeof(head)}, line);
    if (is_there && !is_child_) {
        next_.store(number + 1, std::memory_order_seq_cst);
    }
    return is_there;
}

// --- the loop, meanwhile ---

bool durable_writer::is_taken_over() const noexcept {
    return !is_child_ && crash_.is_taken_over();
}

void durable_writer::throw_taken_over() const {
    throw std::system_error(crash_file::taken_over(),
                            fmt::format("cannot go on with {}: a signal's handler has taken the "
                                        "log over, and nothing is acknowledged until it is gone",
                                        file_.path()));
}

/// Whatever an operation has returned: it counts only where nobody else was at the file.
void durable_writer::require_alone() const {
    if (is_taken_over()) {
        throw_taken_over();
    }
}

/// The same where the file that is open has text_: it is there, and not more.
void durable_writer::require_alone_with_text() {
    if (is_taken_over()) {
        unsynced_.append(text_, kept_);
        keep(text_.size());
        throw_taken_over();
    }
}

/// What a handler has written of it does not come again.
void durable_writer::keep_saved_text() noexcept {
    const std::size_t saved = flight_saved_.load(std::memory_order_acquire);
    if (saved > kept_) {
        unsynced_.append(text_, kept_, saved - kept_);
        keep(saved);
    }
}

// --- who has survived it ---

/// Where a handler has written, and is gone. Throws while one is at it.
task<> durable_writer::settle() {
    if (!crash_.is_taken_over()) [[likely]] {
        co_return;
    }
    const std::uint32_t seen = crash_.handlers();
    if (crash_.has_handler()) {
        throw_taken_over();
    }
    if (!is_child_) {
        co_await look_after_file();
    }
    // A handler that comes now keeps its numbers; and is seen, for it announces itself before.
    std::uint64_t next = next_.load(std::memory_order_seq_cst);
    next_.compare_exchange_strong(next, to_number(heads_.next()), std::memory_order_seq_cst);
    if (crash_.handlers() != seen) {
        throw_taken_over(); // by another one
    }
    crash_.settle(seen);
}

task<> durable_writer::look_after_file() {
    if (file_.is_unnamed()) {
        co_await name_segment();
    }
    const auto reopened = file_.counts().reopened;
    if (log_news news = co_await file_.reopen(durable_last_ + 1)) {
        news_ = std::move(news);
    }
    std::vector<lsn> present;
    if (file_.counts().reopened != reopened) {
        is_poisoned_ = false;
    } else if (!is_poisoned_) {
        try {
            present = co_await file_.recover_again(durable_last_ + 1);
        } catch (const sync_error&) {
            is_poisoned_ = true;
        }
    }
    if (is_numbered_) {
        gather_missing(present);
    } else if (is_changed_in_crash_ || is_poisoned_ || file_.counts().reopened != reopened) {
        ++stranded_;
    }
    is_changed_in_crash_ = false;
    rewrites_unsynced_ = !unsynced_.empty();
    unsynced_there_ = 0;
    sync_at_ = unsynced_.empty() ? clock::time_point::max() : clock::time_point::min();
}

/// Of the numbers that are not known to be on disk these are in the file, and on disk now. The
/// others come again; or a line tells of them where nobody has theirs.
void durable_writer::gather_missing(const std::vector<lsn>& present) {
    const std::uint64_t end = std::max(next_.load(std::memory_order_seq_cst),
                                       present.empty() ? 0 : to_number(present.back()) + 1);
    std::uint64_t begin = to_number(durable_last_) + 1;
    for (auto each = present.begin(); each != present.end() && *each == lsn{begin}; ++each) {
        ++begin;
    }
    heads_.set(lsn{end});
    if (!present.empty() && begin <= to_number(present.back())) {
        // What is missing would stand behind higher numbers: it comes again, in another file.
        is_poisoned_ = true;
    }
    durable_last_ = lsn{begin - 1};
    std::string again;
    std::uint64_t next = begin;
    for (std::string_view rest = unsynced_; !rest.empty();) {
        const std::string_view head = rest.substr(0, numbered_line::head_bytes);
        const std::uint64_t number = to_number(numbered_line::parse(head).place);
        const std::size_t bytes = rest.find('\n') + 1;
        if (number >= next) { // not what tells of a rotated file: that is told below, as it is now
            again.append(rest.substr(0, bytes));
            next = number + 1;
        }
        rest.remove_prefix(bytes);
    }
    // Numbers that stand in none of these lines were a handler's, which came after them.
    if (next < end) {
        (is_rotated_in_crash_ ? append_news : append_gap)(again, next, end - 1);
        stranded_ += end - std::max(next, told_);
        told_ = end;
    }
    unsynced_ = std::move(again);
    take_marks(unsynced_);
    if (!unsynced_.empty()) {
        unsynced_[numbered_line::mark_at] = numbered_line::mark;
    }
}

} // namespace sapwood::detail
