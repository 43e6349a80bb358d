// How a file_sink writes where space is preallocated, and what it does where that cannot be had.
#include "log_tail.hpp"
#include "open_log_file.hpp"
#include "preallocation.hpp"

#include <sapwood/file_sink.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace sapwood {

void file_sink::require_preallocatable(const file_sink_options& options) {
    if (options.preallocated_bytes > file_sink_options::preallocated_bytes_max) {
        throw std::invalid_argument("file_sink_options: preallocated_bytes must be at most 64 MiB");
    }
    if (options.preallocated_bytes != 0 && !options.numbered) {
        throw std::invalid_argument("file_sink_options: preallocated_bytes needs numbered");
    }
}

bool file_sink::is_preallocated() const noexcept {
    return preallocation_ != nullptr;
}

/// From now on lines go into space that is there, if the file system can; otherwise they are
/// appended as ever, and a line says so of `name`, which the file has or will have.
task<> file_sink::preallocate(const std::string& name) {
    if (settings_->preallocated_bytes == 0) {
        co_return;
    }
    auto wanted = std::make_unique<detail::preallocation>(settings_->preallocated_bytes);
    const std::error_code refused = co_await wanted->begin(file_, size_);
    if (!refused) {
        preallocation_ = std::move(wanted);
        co_return;
    }
    if (refused != std::errc::invalid_argument && refused != std::errc::operation_not_supported) {
        throw_cancelled_or(refused, "cannot read the end of");
    }
    co_await wanted->end(file_, size_);
    tell_later({level::warning,
                fmt::format("cannot preallocate space for {} ({}): its lines are appended, which "
                            "takes longer where each is to be durable",
                            name, refused.message())});
}

task<> file_sink::write_preallocated(std::span<const char> lines, bool synced) {
    if (lines.empty()) {
        co_return;
    }
    const bool is_synced = synced && can_write_synced_;
    auto done = co_await preallocation_->append(file_, lines, size_, is_synced);
    const auto is_unknown = [&done] {
        return done.why == std::errc::invalid_argument ||
               done.why == std::errc::operation_not_supported;
    };
    if (is_synced && is_unknown()) {
        can_write_synced_ = false;
        done = co_await preallocation_->append(file_, lines, size_, false);
    }
    if (is_unknown()) {
        co_await give_space_back();
        tell_later({level::warning, fmt::format("cannot write past the page cache into {} ({}): "
                                                "its lines are appended from here on",
                                                path(), done.why.message())});
        co_await write_lines(lines, false);
        co_return;
    }
    if (!done.why) {
        size_ += lines.size();
        co_return;
    }
    if (done.why.value() == ESTALE) {
        give_up();
    }
    if (done.in_doubt) {
        note_failed_sync(done.why);
        throw sync_error(done.why, fmt::format("cannot write and sync {}", path()));
    }
    throw write_error(done.why, fmt::format("cannot write {}", path()), 0);
}

/// Cuts off the zeros, and appends from now on.
task<> file_sink::give_space_back() {
    if (const auto old = std::exchange(preallocation_, nullptr); old && !is_inherited()) {
        (void)file_.change_flags(O_DIRECT, O_APPEND); // first: what follows may lack memory
        const auto shielded = co_await shield();
        co_await old->end(file_, size_);
    }
}

/// Whether the file has another length than it was given, which counts once.
void file_sink::look_at_preallocated(std::uint64_t file_size) noexcept {
    if (file_size != preallocation_->file_size() && !preallocation_->is_distrusted()) {
        counts_.truncated += file_size < preallocation_->file_size() ? 1 : 0;
        preallocation_->distrust();
    }
}

void file_sink::give_up() {
    tell_later(
        {level::warning, fmt::format("somebody else has cut {}{}{}: the log goes on in this file",
                                     preallocation_ != nullptr ? "or lengthened " : "", path(),
                                     preallocation_ != nullptr ? ", whose space is preallocated"
                                                               : " while it was written")});
    throw sync_error(std::error_code(ESTALE, std::generic_category()),
                     fmt::format("somebody else has changed {}", path()));
}

void file_sink::tell_later(log_news news) {
    if (news_ && news_.text != news.text) { // both, in one line
        news.text = news_.text + "; " + news.text;
        news.importance = std::max(news.importance, news_.importance);
    }
    news_ = std::move(news);
}

/// What is behind the last line of a log whose space was preallocated, of a writer that did not
/// close it: zeros, up to the end of a block.
task<> file_sink::cut_off_zeros() {
    const std::uint64_t end = co_await detail::end_before_zeros(file_, size_);
    if (end == size_) {
        co_return;
    }
    co_await file_.truncate(end);
    size_ = end;
}

} // namespace sapwood
