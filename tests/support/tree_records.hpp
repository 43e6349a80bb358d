// Records of actions, and random trees of them with the text that shows them, drawn by a way of its
// own: by recursion, and from the tree and not from the records.
#pragma once

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::test {

/// A line of JSON, with its newline: the task, its level (`2,1`), so many milliseconds after
/// 2026-11-27 04:00:00, and `members`.
[[nodiscard]] std::string tree_record(std::string_view task, std::string_view level, int ms,
                                      std::string_view members);

struct drawn {
    std::vector<std::string> records;
    std::string text;
};

/// A task of some dozen actions.
[[nodiscard]] drawn drawn_tree(const std::string& task, std::mt19937& random);

} // namespace sapwood::test
