// A table of text on stdout: columns as wide as their widest cell, numbers aligned to the right.
//
// Cells are finished ASCII text; the unit of a column belongs into its head.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace bench {

enum class align { left, right };

struct column {
    std::string head;
    align side = align::right;
};

class table {
  public:
    explicit table(std::vector<column> columns);

    // Precondition: one cell per column.
    void add_row(std::vector<std::string> cells);

    // An empty line between two groups of rows.
    void add_gap();

    void print(std::FILE* out) const;

  private:
    const std::vector<column> columns_;
    std::vector<std::vector<std::string>> rows_; // An empty row is a gap.
};

} // namespace bench
