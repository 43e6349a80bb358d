#include "harness/table.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

namespace bench {

table::table(std::vector<column> columns) : columns_{std::move(columns)} {}

void table::add_row(std::vector<std::string> cells) {
    if (cells.size() != columns_.size()) {
        throw std::logic_error("a table row needs one cell per column");
    }
    rows_.push_back(std::move(cells));
}

void table::add_gap() {
    rows_.emplace_back();
}

void table::print(std::FILE* out) const {
    std::vector<std::size_t> widths;
    for (const column& c : columns_) {
        widths.push_back(c.head.size());
    }
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], row[i].size());
        }
    }

    const auto print_line = [&](auto&& cell_of) {
        std::string line;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            const std::string& cell = cell_of(i);
            if (columns_[i].side == align::left) {
                line += fmt::format("  {:<{}}", cell, widths[i]);
            } else {
                line += fmt::format("  {:>{}}", cell, widths[i]);
            }
        }
        line.erase(line.find_last_not_of(' ') + 1);
        fmt::print(out, "{}\n", line);
    };

    print_line([&](std::size_t i) -> const std::string& { return columns_[i].head; });
    const auto rules = [&] {
        std::vector<std::string> all;
        for (const std::size_t width : widths) {
            all.emplace_back(width, '-');
        }
        return all;
    }();
    print_line([&](std::size_t i) -> const std::string& { return rules[i]; });
    for (const auto& row : rows_) {
        if (row.empty()) {
            fmt::print(out, "\n");
        } else {
            print_line([&](std::size_t i) -> const std::string& { return row[i]; });
        }
    }
}

} // namespace bench
