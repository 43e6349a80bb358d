#include "durable_writer.hpp"

#include <sapwood/assert.hpp>
#include <sapwood/crc32c.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace sapwood::detail {

namespace {

/// Recovery looks that far behind the last mark.
constexpr std::size_t unsynced_bytes_highest = 8u << 20;

/// So much is written at once, or one line, which comes on top of what is kept.
constexpr std::size_t text_bytes_max = 1u << 20;
constexpr std::size_t unsynced_bytes_synced = unsynced_bytes_highest - text_bytes_max;

/// Where the first `lines` of `text` end.
std::size_t end_of_lines(std::string_view text, std::size_t lines) noexcept {
    std::size_t end = 0;
    for (; lines > 0; --lines) {
        end = text.find('\n', end) + 1;
    }
    return end;
}

/// Without the code's message, which who throws it on adds.
std::string what_of(const std::system_error& error) {
    std::string_view what = error.what();
    const std::string ending = ": " + error.code().message();
    if (what.ends_with(ending)) {
        what.remove_suffix(ending.size());
    }
    return std::string(what);
}

std::size_t count_lines(std::string_view text) noexcept {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

} // namespace

void durable_writer_options::validate(std::string_view whose) const {
    if (unsynced_bytes_max > unsynced_bytes_highest) {
        throw std::invalid_argument(
            fmt::format("{}: unsynced_bytes_max must be at most 8 MiB", whose));
    }
}

durable_writer::durable_writer(file_sink& file, crash_file& crash,
                               const durable_writer_options& options)
    : file_(file),
      crash_(crash),
      durable_(options.level),
      is_numbered_(options.numbers()),
      unsynced_bytes_max_(std::min(options.unsynced_bytes_max, unsynced_bytes_synced)),
      writeback_bytes_(options.writeback_bytes),
      heads_(file.last_lsn() + 1),
      untold_(file.path()),
      durable_last_(file.last_lsn()) {
    SAPWOOD_ASSERT(!file.is_preallocated(), "a log file whose end may be in doubt");
    next_.store(to_number(heads_.next()), std::memory_order_relaxed);
    (void)crc32c({}); // chooses how, which a signal handler must not be the first to do
}

std::unique_ptr<durable_writer> durable_writer::of_child(file_sink& file, crash_file& crash,
                                                         const durable_writer_options& options) {
    auto made = std::make_unique<durable_writer>(file, crash, options);
    made->is_child_ = true;
    made->heads_.set(lsn::none);
    made->next_.store(0, std::memory_order_relaxed);
    return made;
}

std::size_t durable_writer::fitting(std::string_view lines, std::uint64_t room) const noexcept {
    const std::size_t head = is_numbered_ ? numbered_line::head_bytes : 0;
    std::size_t fits = 0;
    while (fits < lines.size()) {
        const std::size_t end = std::min(lines.find('\n', fits), lines.size() - 1) + 1;
        const std::size_t bytes = end - fits + head;
        if (bytes > room) {
            break;
        }
        room -= bytes;
        fits = end;
    }
    return fits;
}

// --- lines ---

/// What `lines` will be in the file. Their numbers are not taken before it has them. That they are
/// kept needs no memory any more: it is not to fail where a handler has written them.
void durable_writer::number(std::span<const char> lines) {
    std::string_view rest(lines.data(), lines.size());
    text_.clear();
    kept_ = 0;
    text_there_ = 0;
    is_text_written_ = false;
    if (!is_numbered_) {
        text_.append(rest);
        rest = {};
    }
    line_head head = heads_;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        const std::size_t begin = text_.size();
        text_.append(numbered_line::head_bytes, ' ').append(rest.substr(0, end));
        head.put(text_.data() + begin, text_.size() - begin);
        if (!is_child_) {
            head.skip();
        }
        text_ += '\n';
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    flight_next_.store(to_number(head.next()), std::memory_order_relaxed);
    unsynced_.reserve(unsynced_.size() + text_.size());
}

/// Its first line says that what is above it is on disk. Who calls it asks for is_taken_over()
/// once more, for a handler that came while there was no text to be had.
void durable_writer::mark_text() {
    if (text_.empty()) {
        return;
    }
    const std::size_t part = batch_part_.exchange(0, std::memory_order_seq_cst);
    require_alone();
    text_[numbered_line::mark_at] = numbered_line::mark;
    batch_part_.store(part, std::memory_order_seq_cst);
}

/// The file has the first `bytes` of the lines: they have their numbers.
void durable_writer::keep(std::size_t bytes) noexcept {
    const std::size_t lines = count_lines(std::string_view(text_).substr(kept_, bytes - kept_));
    if (!is_child_) {
        heads_.set(heads_.next() + lines);
    }
    kept_ = bytes;
    is_text_written_ = false;
}

void durable_writer::begin_batch(const char* batch, std::size_t done) noexcept {
    batch_done_.store(done, std::memory_order_seq_cst);
    batch_.store(batch, std::memory_order_seq_cst);
}

void durable_writer::end_batch() noexcept {
    batch_.store(nullptr, std::memory_order_seq_cst);
}

/// While it lives text_, which was made of `lines`, is being written. It stays as it is then, for a
/// handler may be reading it.
class durable_writer::batch_part {
  public:
    batch_part(durable_writer& writer, std::span<const char> lines) noexcept
        : writer_(writer),
          first_(to_number(writer.heads_.next())),
          is_all_(writer.batch_.load(std::memory_order_relaxed) == nullptr) {
        if (is_all_) {
            writer_.begin_batch(lines.data(), 0);
        }
        writer_.flight_text_.store(writer_.text_.data(), std::memory_order_relaxed);
        writer_.flight_bytes_.store(writer_.text_.size(), std::memory_order_relaxed);
        writer_.flight_saved_.store(0, std::memory_order_relaxed);
        writer_.batch_part_.store(lines.size(), std::memory_order_seq_cst);
    }

    batch_part(const batch_part&) = delete;
    batch_part& operator=(const batch_part&) = delete;

    ~batch_part() {
        // Before the text is withdrawn: who does not see that sees the number. A handler that has
        // given itself numbers keeps them.
        std::uint64_t mine = first_;
        writer_.next_.compare_exchange_strong(mine, to_number(writer_.heads_.next()),
                                              std::memory_order_seq_cst);
        writer_.crash_.end_write();
        writer_.batch_part_.store(0, std::memory_order_seq_cst);
        if (is_all_) {
            writer_.end_batch();
        }
    }

  private:
    durable_writer& writer_;
    const std::uint64_t first_;
    const bool is_all_;
};

/// How much of `lines` is written at once: lines whose text is not too long, or the first of them.
std::size_t durable_writer::fitting_in_text(std::string_view lines) const noexcept {
    const std::size_t heads = is_numbered_ ? count_lines(lines) * numbered_line::head_bytes : 0;
    if (lines.size() + heads <= text_bytes_max) [[likely]] {
        return lines.size();
    }
    const std::size_t fits = fitting(lines, text_bytes_max);
    return fits != 0 ? fits : std::min(lines.find('\n'), lines.size() - 1) + 1;
}

/// Withdraws a batch that is written in parts, for a handler.
class durable_writer::batch_in_parts {
  public:
    batch_in_parts(durable_writer& writer, std::span<const char> lines) noexcept
        : writer_(writer),
          callers_(writer.batch_.load(std::memory_order_relaxed)),
          batch_(callers_ != nullptr ? callers_ : lines.data()),
          before_(callers_ != nullptr ? writer.batch_done_.load(std::memory_order_relaxed) : 0) {}

    batch_in_parts(const batch_in_parts&) = delete;
    batch_in_parts& operator=(const batch_in_parts&) = delete;

    ~batch_in_parts() {
        if (callers_ == nullptr) {
            writer_.end_batch();
        }
    }

    void go_on(std::size_t done) noexcept { writer_.begin_batch(batch_, before_ + done); }

  private:
    durable_writer& writer_;
    const char* const callers_;
    const char* const batch_;
    const std::size_t before_;
};

task<> durable_writer::write(std::span<const char> lines) {
    const auto shielded = co_await shield();
    const std::string_view all(lines.data(), lines.size());
    if (fitting_in_text(all) == all.size()) {
        co_await write_part(lines);
        co_return;
    }
    batch_in_parts batch(*this, lines);
    parts_kept kept(file_.path());
    while (kept.bytes() < all.size()) {
        const std::size_t done = kept.bytes();
        const std::size_t part = fitting_in_text(all.substr(done));
        batch.go_on(done);
        try {
            co_await write_part(lines.subspan(done, part));
        } catch (write_error& error) {
            error.bytes_kept += done;
            throw;
        } catch (const std::bad_alloc&) {
            kept.rethrow();
        }
        kept.go_on(part);
    }
}

task<> durable_writer::write_part(std::span<const char> lines) {
    try {
        co_await settle();
    } catch (const std::system_error& error) {
        throw write_error(error.code(), what_of(error), 0);
    }
    number(lines);
    const batch_part in_flight(*this, lines);
    try {
        co_await attempt();
    } catch (const std::exception&) {
        rethrow_kept(lines);
    }
}

/// The exception that is being handled, with how much of `lines` is in the file, whatever there is
/// no memory for. Returns where all of it is: sync_at() says that it is not on disk.
void durable_writer::rethrow_kept(std::span<const char> lines) {
    keep_saved_text();
    const std::size_t count = count_lines(std::string_view(text_).substr(0, kept_));
    const std::size_t kept = end_of_lines({lines.data(), lines.size()}, count);
    try {
        try {
            throw;
        } catch (const std::system_error& error) {
            throw write_error(error.code(), what_of(error), kept);
        }
    } catch (const std::bad_alloc&) {
        if (kept < lines.size()) {
            untold_.rethrow(kept);
        }
    }
}

task<> durable_writer::begin_file(std::span<const char> lines, std::string aside) {
    const auto shielded = co_await shield();
    co_await sync();
    if (file_.look_at_end() == file_end::lengthened) {
        co_await sync_others();
    }
    number(lines);
    if (is_numbered_) {
        text_[numbered_line::mark_at] = numbered_line::mark; // nobody has it yet
    }
    const batch_part in_flight(*this, lines);
    require_alone();
    bool is_named = true;
    const int fd = file_.fd();
    try {
        co_await file_.begin_segment(text_, {}, durable_last_ + 1, std::move(aside));
    } catch (const std::exception&) {
        if (!file_.is_unnamed()) {
            // It has these lines, then, and another name than the log's.
            is_poisoned_ = is_poisoned_ || file_.fd() != fd;
            keep_saved_text();
            if (kept_ < text_.size()) {
                throw;
            }
            // Who would write them once more: a handler has done it, where they are not durable.
            co_return;
        }
        is_named = false;
    }
    is_poisoned_ = false;
    keep(text_.size());
    is_changed_in_crash_ = is_rotated_in_crash_ = is_taken_over();
    if (is_named && !is_rotated_in_crash_ && !has_lost_lines(file_.look_at_end())) {
        note_durable();
    } else {
        unsynced_.append(text_);
        sync_at_ = clock::time_point::min();
    }
}

void durable_writer::note_durable() noexcept {
    unsynced_.clear();
    rewrites_unsynced_ = false;
    unsynced_there_ = 0;
    is_rotated_in_crash_ = false;
    sync_at_ = clock::time_point::max();
    durable_last_ = static_cast<lsn>(to_number(heads_.next()) - 1);
}

} // namespace sapwood::detail
