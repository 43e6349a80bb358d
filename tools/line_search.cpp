#include "line_search.hpp"

#include <sapwood/numbered_line.hpp>

#include <cstring>
#include <utility>

namespace sapwood::tools {

namespace {

/// Whether a line has the head of a durable log, by its form alone.
bool has_head(std::string_view line) noexcept {
    using form = numbered_line;
    return line.size() >= form::head_bytes && line[form::head_bytes - 1] == ' ' &&
           (line[form::mark_at] == ' ' || line[form::mark_at] == form::mark) && line[0] >= '0' &&
           line[0] <= '9' && line[form::lsn_digits - 1] >= '0' &&
           line[form::lsn_digits - 1] <= '9' && line[form::lsn_digits / 2] >= '0' &&
           line[form::lsn_digits / 2] <= '9';
}

std::string_view body_of(std::string_view line) noexcept {
    return has_head(line) ? line.substr(numbered_line::head_bytes) : line;
}

} // namespace

line_search::line_search(const pattern& wanted, const line_filter& filter, search_options options,
                         line_printer& printer, tool_output& output, std::string prefix)
    : wanted_(wanted),
      filter_(filter),
      options_(options),
      printer_(printer),
      output_(output),
      prefix_(std::move(prefix)) {}

void line_search::search(const log_file& file) {
    superseded_from_ = file.superseded_from;
    block_reader reader(file);
    const bool flushes = is_live(file.path);
    const bool by_text = wanted_.is_text() && !wanted_.text().empty() && !options_.inverts;
    for (std::string_view block = reader.next(); !block.empty() && !is_done();
         block = reader.next()) {
        by_text ? search_text(block) : search_each(block);
        if (flushes) {
            output_.flush();
        }
    }
}

/// Looks at lines only where the text is.
void line_search::search_text(std::string_view lines) {
    const std::string_view text = wanted_.text();
    while (!lines.empty() && !is_done()) {
        const void* const at = ::memmem(lines.data(), lines.size(), text.data(), text.size());
        if (at == nullptr) {
            return;
        }
        const auto place = static_cast<std::size_t>(static_cast<const char*>(at) - lines.data());
        const std::size_t newline = place == 0 ? lines.npos : lines.rfind('\n', place - 1);
        lines.remove_prefix(newline == lines.npos ? 0 : newline + 1);
        look_at(take_line(lines));
    }
}

void line_search::search_each(std::string_view lines) {
    while (!lines.empty() && !is_done()) {
        look_at(take_line(lines));
    }
}

void line_search::look_at(std::string_view line) {
    bool is_match = false;
    try {
        is_match = wanted_.matches(body_of(line));
    } catch (const pattern_gave_up& error) {
        if (given_up_++ == 0) {
            why_given_up_ = error.what();
        }
        return;
    }
    if (is_match != options_.inverts) {
        take(line);
    }
}

void line_search::take(std::string_view line) {
    const bool needs_parsing = superseded_from_ != 0 || !filter_.is_empty() ||
                               !(options_.only_counts || options_.only_asks);
    if (needs_parsing) {
        const log_line& parsed = parser_.parse(line);
        if ((superseded_from_ != 0 && parsed.is_numbered && parsed.number >= superseded_from_) ||
            (!filter_.is_empty() && !filter_.wants(parsed, parser_))) {
            return;
        }
        if (!options_.only_counts && !options_.only_asks) {
            append_shown(prefix_, output_.buffer());
            printer_.print(line, parsed, parser_);
            output_.flush_if_large();
        }
    }
    ++found_;
}

} // namespace sapwood::tools
