// A durable log on a real file, for tests that spoil some of its operations: fails them, or does
// something else meanwhile, as a signal's handler would.
#pragma once

#include "support/log_files.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/numbered_line.hpp>

#include <cerrno>
#include <cstdint>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <functional>
#include <liburing.h>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace sapwood::test {

using strings = std::vector<std::string>;

/// A log on a real file, whose operations the test may spoil.
struct spoiled_log {
    temporary_directory directory;
    std::string path = directory / "log";
    loop_with_writes loop{perform};
    std::unique_ptr<file_log_sink> sink;

    explicit spoiled_log(bool is_numbered = true, durability level = durability::batch()) {
        file_log_sink_options options{.path = path};
        options.durable = level;
        options.numbered = is_numbered;
        sink = std::make_unique<file_log_sink>(options);
    }

    using answer = std::optional<std::int32_t>;

    /// The next of those operations ends as `how` says, which may do the one or the other before.
    void once(std::function<bool(const io_uring_sqe&)> which,
              std::function<answer(const io_uring_sqe&)> how) {
        loop.ring().answer = [is_over = false, which = std::move(which),
                              how = std::move(how)](const io_uring_sqe& sqe) mutable -> answer {
            if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                return -EOPNOTSUPP;
            }
            if (is_over || !which(sqe)) {
                return perform(sqe);
            }
            is_over = true;
            return how(sqe);
        };
    }

    /// The next `count` of them fail; `meanwhile` is called before each.
    void fail(int count, std::function<bool(const io_uring_sqe&)> which,
              std::function<void()> meanwhile = {}) {
        loop.ring().answer = [count, which = std::move(which), meanwhile = std::move(meanwhile)](
                                 const io_uring_sqe& sqe) mutable -> answer {
            if (sqe.opcode == IORING_OP_WRITE && (sqe.rw_flags & RWF_DSYNC) != 0) {
                return -EOPNOTSUPP;
            }
            if (count == 0 || !which(sqe)) {
                return perform(sqe);
            }
            --count;
            if (meanwhile) {
                meanwhile();
            }
            return -EIO;
        };
    }

    [[nodiscard]] int syncs_from_now() {
        syncs = 0;
        loop.ring().answer = [this](const io_uring_sqe& sqe) {
            syncs += sqe.opcode == IORING_OP_FSYNC ? 1 : 0;
            return perform(sqe);
        };
        return syncs;
    }

    int syncs = 0;

    /// Without those of the log's own that have no number.
    [[nodiscard]] strings lines() const { return lines_of(path); }

    [[nodiscard]] static strings lines_of(const std::string& file) {
        std::istringstream stream(contents_of(file));
        strings found;
        for (std::string line; std::getline(stream, line);) {
            const auto parsed = numbered_line::parse(line);
            CHECK(parsed.is == numbered_line::state::whole);
            if (parsed.place == lsn::none) {
                continue;
            }
            found.push_back(fmt::format("{} {}", to_number(parsed.place),
                                        line.substr(numbered_line::head_bytes)));
        }
        return found;
    }

    [[nodiscard]] bool is_whole() const {
        log_verifier verifier;
        return verifier.verify(log_verifier::segments_of(path)).is_whole();
    }
};

inline bool is_sync(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_FSYNC;
}

inline bool is_write(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_WRITE;
}

inline bool is_rename(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_RENAMEAT;
}

inline bool is_open(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_OPENAT || sqe.opcode == IORING_OP_OPENAT2;
}

inline bool is_read(const io_uring_sqe& sqe) {
    return sqe.opcode == IORING_OP_READ;
}

/// How a write has ended: how much it has kept, and why it failed.
struct outcome {
    std::size_t kept = 0;
    std::error_code failure;

    [[nodiscard]] bool is_taken_over() const {
        return failure == std::errc::device_or_resource_busy;
    }
};

inline task<outcome> write_to(log_sink& sink, std::string lines) {
    outcome how{.kept = lines.size(), .failure = {}};
    try {
        co_await sink.write(lines);
    } catch (const write_error& error) {
        how = {.kept = error.bytes_kept, .failure = error.code()};
    }
    co_return how;
}

/// The same of a batch that a handler knows, too.
inline task<outcome> write_batch(log_sink& sink, const std::string& batch) {
    outcome how{.kept = batch.size(), .failure = {}};
    try {
        co_await sink.write(batch);
    } catch (const write_error& error) {
        how = {.kept = error.bytes_kept, .failure = error.code()};
    }
    co_return how;
}

inline task<std::error_code> sync_of(log_sink& sink) {
    std::error_code failure;
    try {
        co_await sink.sync();
    } catch (const std::system_error& error) {
        failure = error.code();
    }
    co_return failure;
}

} // namespace sapwood::test
