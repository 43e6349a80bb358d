// What a command does with a line of a log: whether it is wanted, and its print. One thread.
#pragma once

#include "line_filter.hpp"
#include "line_printer.hpp"
#include "seen_lines.hpp"

namespace sapwood::tools {

class line_view {
  public:
    line_view(const line_filter& filter, line_style style, bool colour, tool_output& output)
        : filter_(filter),
          output_(output),
          printer_(style, colour, output.buffer()) {}

    /// line_padding bytes behind `line` may be read.
    [[nodiscard]] bool wants(std::string_view line) {
        return filter_.is_empty() || filter_.wants(parser_.parse(line), parser_);
    }

    /// Prints it if it is wanted, and was not printed before: a durable log may have a line twice,
    /// where a sync failed. Does not flush.
    void show(std::string_view line) {
        const log_line& parsed = parser_.parse(line);
        if (!seen_.is_new(parsed)) {
            return;
        }
        if (filter_.wants(parsed, parser_)) {
            printer_.print(line, parsed, parser_);
            output_.flush_if_large();
        }
    }

    [[nodiscard]] tool_output& output() noexcept { return output_; }

    [[nodiscard]] const line_filter& filter() const noexcept { return filter_; }

    [[nodiscard]] line_parser& parser() noexcept { return parser_; }

  private:
    const line_filter& filter_;
    tool_output& output_;
    line_parser parser_;
    line_printer printer_;
    seen_lines seen_;
};

} // namespace sapwood::tools
