// log_count: what is counted of a log's lines, in bounded memory whatever stands in them. One
// thread.
#pragma once

#include "log_files.hpp"
#include "log_line.hpp"
#include "seen_lines.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace sapwood::tools {

/// How often each name stands there.
class name_count {
  public:
    void add(std::string_view name);

    [[nodiscard]] const auto& all() const noexcept { return counts_; }

    /// Of names that came when there were too many.
    [[nodiscard]] std::uint64_t others() const noexcept { return others_; }

  private:
    static constexpr std::size_t names_max = 100'000;
    static constexpr std::size_t name_bytes_max = 256;

    struct hash {
        using is_transparent = void;

        std::size_t operator()(std::string_view name) const noexcept {
            return std::hash<std::string_view>()(name);
        }
    };

    std::unordered_map<std::string, std::uint64_t, hash, std::equal_to<>> counts_;
    std::uint64_t others_ = 0;
    /// The last one, which is often the next one, too.
    std::string_view last_;
    std::uint64_t* last_count_ = nullptr;
};

/// Records by time, in steps that grow where there are too many.
class time_count {
  public:
    void add(std::int64_t ns);

    /// A step that gives at most `rows` rows from the first to the last, and the counts by it.
    [[nodiscard]] std::int64_t fitting_step(std::size_t rows) const noexcept;
    [[nodiscard]] std::map<std::int64_t, std::uint64_t> by(std::int64_t step_seconds) const;

  private:
    static constexpr std::size_t steps_max = 20'000;

    void widen();

    std::int64_t step_seconds_ = 1;
    std::map<std::int64_t, std::uint64_t> counts_; // by second of its begin
    std::int64_t last_begin_ = -1;
    std::uint64_t* last_count_ = nullptr;
};

struct log_count {
    std::uint64_t files = 0;
    /// Of the files, as they are on disk.
    std::uint64_t bytes = 0;
    std::uint64_t records = 0;
    std::uint64_t numbered = 0;
    /// Lines that are there once more: of a segment whose sync failed.
    std::uint64_t repeated = 0;
    /// Lines that are no records.
    std::uint64_t others = 0;
    std::uint64_t without_level = 0;
    std::array<std::uint64_t, 6> by_level{};
    std::optional<std::int64_t> first_ns;
    std::optional<std::int64_t> last_ns;
    name_count threads;
    name_count loggers;
    name_count senders;
    name_count tags;
    time_count times;

    /// Counts all lines of a file. Throws std::system_error where it cannot be read.
    void add(const log_file& file);

    /// See line_parser.
    [[nodiscard]] bool has_met_unreadable() const noexcept { return parser_.has_met_unreadable(); }

  private:
    void add_line(const log_line& line);

    line_parser parser_;
    std::string sender_;
    seen_lines seen_;
};

} // namespace sapwood::tools
