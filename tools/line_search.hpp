// The search through a log: file after file, block after block. One thread.
#pragma once

#include "line_filter.hpp"
#include "line_printer.hpp"
#include "log_files.hpp"
#include "pattern.hpp"
#include "seen_lines.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace sapwood::tools {

struct search_options {
    bool inverts = false;
    /// Lines are counted and not printed.
    bool only_counts = false;
    /// Ends with the first line.
    bool only_asks = false;
};

class line_search {
  public:
    /// Borrows them. `printer` writes to `output`. Lines begin with `prefix`.
    line_search(const pattern& wanted, const line_filter& filter, search_options options,
                line_printer& printer, tool_output& output, std::string prefix);

    /// Throws std::system_error where the file cannot be read, or nobody reads the output.
    void search(const log_file& file);

    [[nodiscard]] std::uint64_t found() const noexcept { return found_; }

    /// Lines that the pattern gave up on, and why it did on the first; they are not found.
    [[nodiscard]] std::uint64_t given_up() const noexcept { return given_up_; }

    [[nodiscard]] const std::string& why_given_up() const noexcept { return why_given_up_; }

    /// See line_parser.
    [[nodiscard]] bool has_met_unreadable() const noexcept { return parser_.has_met_unreadable(); }

  private:
    [[nodiscard]] bool is_done() const noexcept { return options_.only_asks && found_ > 0; }

    void search_each(std::string_view lines);
    void search_text(std::string_view lines);
    void look_at(std::string_view line);
    void take(std::string_view line);

    const pattern& wanted_;
    const line_filter& filter_;
    search_options options_;
    line_printer& printer_;
    tool_output& output_;
    std::string prefix_;
    line_parser parser_;
    /// Of the file that is searched.
    std::uint64_t superseded_from_ = 0;
    std::uint64_t found_ = 0;
    std::uint64_t given_up_ = 0;
    std::string why_given_up_;
};

} // namespace sapwood::tools
