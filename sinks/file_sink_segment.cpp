// How a file_sink goes on in a new segment, and how an open finds what became of one.
#include "mistakes.hpp"
#include "open_log_file.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/shield.hpp>

#include <cerrno>
#include <fmt/format.h>
#include <optional>
#include <utility>

namespace sapwood {

namespace {

/// For a segment that is set aside.
constexpr int names_tried_max = 1000;

std::string name_in_making(const std::string& path) {
    return path + ".next";
}

task<> remove_if_there(std::string path) {
    const auto removed = co_await as_result(remove_file(path));
    if (!removed && removed.error() != std::errc::no_such_file_or_directory) {
        throw std::system_error(removed.error(), fmt::format("cannot remove {}", path));
    }
}

} // namespace

task<> file_sink::begin_segment(std::span<const char> first, std::span<const char> second, lsn next,
                                std::string aside) {
    const auto shielded = co_await shield();
    if (is_unnamed_) { // by an attempt that failed: it has these lines
        co_await take_name();
        co_return;
    }
    const std::string making = name_in_making(path());
    co_await remove_if_there(making);
    auto settings = std::make_unique<detail::log_file_settings>(*settings_);
    settings->path = making;
    settings->must_be_new = true;
    settings->sync_directory = false;
    std::exception_ptr failure;
    try {
        detail::opened_log opened = co_await detail::open_log_file(*settings);
        file_sink fresh(std::move(opened), std::move(settings));
        co_await fresh.preallocate();
        co_await fresh.write(first);
        co_await fresh.write(second);
        co_await fresh.datasync();
        co_await make_way(next, std::move(aside));
        // Nothing has the log's name any more: whatever fails now, this file is the log.
        co_await take_place(fresh, false);
        is_unnamed_ = true;
        segment_begin_ = next;
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        (void)co_await as_result(remove_file(making));
        std::rethrow_exception(failure);
    }
    co_await take_name();
}

/// Makes the name free: what had it is known by another one from then on.
task<> file_sink::make_way(lsn next, std::string aside) {
    const auto named = co_await detail::status_if_there(path(), at_symlink::stay);
    if (named && (named->inode != inode_ || named->device != device_)) {
        detail::throw_errno(ESTALE, fmt::format("cannot begin a new segment of {}: another file "
                                                "has its name now",
                                                path()));
    }
    if (!named) {
        co_return;
    }
    if (!aside.empty()) {
        co_await rename_aside(aside);
    } else if (segment_begin_ == next) {
        // It has nothing that is of use: what it has from its beginning on comes again.
        co_await remove_if_there(path());
    } else {
        co_await set_aside(next);
    }
}

/// Under the first name that is free: an earlier process may have come as far as this number, too.
task<> file_sink::set_aside(lsn next) {
    const std::string name = fmt::format("{}.{:016}", path(), to_number(next));
    for (int attempt = 1;; ++attempt) {
        std::string to = name;
        if (attempt > 1) {
            to = fmt::format("{}-{}", name, attempt);
        }
        bool is_taken = false;
        try {
            co_await rename_aside(to);
        } catch (const std::system_error& error) {
            is_taken = error.code() == std::errc::file_exists && attempt < names_tried_max;
            if (!is_taken) {
                throw;
            }
        }
        if (!is_taken) {
            co_return;
        }
    }
}

/// The segment in the making gets the log's name, for good. Until that has succeeded it is called
/// again; and killed in between, the next open does it.
task<> file_sink::take_name() {
    co_await detail::sync_directory_of(path());
    const auto named = co_await detail::status_if_there(path(), at_symlink::stay);
    if (!named || named->inode != inode_ || named->device != device_) {
        const std::string making = name_in_making(path());
        const auto renamed = co_await as_result(rename_file(making, path(), when_taken::refuse));
        if (!renamed) {
            throw std::system_error(renamed.error(),
                                    fmt::format("cannot rename {} to {}", making, path()));
        }
        co_await detail::sync_directory_of(path());
    }
    is_unnamed_ = false;
}

/// Of a writer that was killed between two names: the segment that it had made takes the log's
/// name.
task<> file_sink::finish_segment(const detail::log_file_settings& settings) {
    if (co_await detail::status_if_there(settings.path, at_symlink::stay)) {
        co_return;
    }
    auto made = std::make_unique<detail::log_file_settings>(settings);
    made->path = name_in_making(settings.path);
    if (!(co_await detail::status_if_there(made->path, at_symlink::stay))) {
        co_return;
    }
    // With its lock: a writer that lives may be at that very step.
    detail::opened_log opened = co_await detail::open_log_file(*made);
    const auto renamed =
        co_await as_result(rename_file(made->path, settings.path, when_taken::refuse));
    if (!renamed && renamed.error() != std::errc::file_exists) {
        throw std::system_error(renamed.error(),
                                fmt::format("cannot rename {} to {}", made->path, settings.path));
    }
    co_await detail::sync_directory_of(settings.path);
    (void)co_await detail::unlock_and_close(opened.descriptor);
}

} // namespace sapwood
