// action_logs: the records of actions in several logs and the files that were set aside of them,
// read together: a block of the log that is furthest behind in time, again and again, so that what
// one program has begun and another one ended is met close together. One thread.
#pragma once

#include "action_forest.hpp"
#include "log_files.hpp"
#include "seen_lines.hpp"

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

class action_logs {
  public:
    struct options {
        /// Only tasks whose id begins so.
        std::string task;
        /// Files that were set aside are left out.
        bool has_one_file = false;
        /// Told what could not be read.
        std::function<void(std::string_view)> complain;
        /// Called when what was there of a log that is being written has been read.
        std::function<void()> on_pause;
    };

    action_logs(options wanted, action_forest& to);

    /// Its files, or standard input. What is wrong with it is told.
    void add(const std::string& log);

    /// All of them. Throws what the forest's taker does.
    void read();

    /// Something could not be read.
    [[nodiscard]] bool has_failed() const noexcept { return has_failed_; }

    [[nodiscard]] std::uint64_t lines() const noexcept { return lines_; }

    /// Lines that should be records and are none; where the first one is, and why.
    [[nodiscard]] std::uint64_t broken() const noexcept { return broken_; }

    [[nodiscard]] const std::string& first_broken() const noexcept { return first_broken_; }

    /// Numbered lines that were there already.
    [[nodiscard]] std::uint64_t repeated() const noexcept { return repeated_; }

  private:
    struct stream {
        std::vector<log_file> files;
        std::size_t next_file = 0;
        std::unique_ptr<block_reader> reader;
        seen_lines seen;
        std::uint64_t line = 0;
        std::int64_t reached_ns = std::numeric_limits<std::int64_t>::min();
        /// Of the last record, as it says.
        std::optional<std::int64_t> last_ns;
        bool is_live = false;
        bool is_over = false;

        void reach(std::int64_t ns) noexcept;

        [[nodiscard]] const log_file& file() const noexcept { return files[next_file - 1]; }
    };

    [[nodiscard]] std::string_view next_block(stream& from);
    void take_block(stream& from, std::string_view block);
    void take_line_of(stream& from, std::string_view line);
    void fail(std::string_view why);

    options options_;
    action_forest& to_;
    action_reader reader_;
    std::vector<std::unique_ptr<stream>> streams_;
    bool has_failed_ = false;
    std::uint64_t lines_ = 0;
    std::uint64_t broken_ = 0;
    std::uint64_t repeated_ = 0;
    std::string first_broken_;
};

} // namespace sapwood::tools
