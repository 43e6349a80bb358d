// A program's actions, as it knows them and as its log tells them, to be compared. They are called
// by their numbers.
#pragma once

#include "support/action_lines.hpp"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace sapwood::test {

struct node {
    std::uint32_t parent = 0;
    std::uint32_t messages = 0;
    std::uint32_t children = 0;
    /// 's', 'f', 'c'; 0: not over.
    char outcome = 0;

    bool operator==(const node&) const = default;
};

/// Those that a log tells of; throws where a line is not where it says, or one is missing.
class read_tree {
  public:
    explicit read_tree(std::uint32_t actions) : nodes_(actions + 1) {}

    void take(const std::string& text) {
        const action_line line = read_action_line(text);
        const std::size_t comma = line.place.rfind(',');
        const std::string above = comma == line.place.npos ? "" : line.place.substr(0, comma);
        const auto number =
            static_cast<std::uint32_t>(std::stoul(line.place.substr(comma + 1))); // npos + 1 is 0
        const std::string key = line.uuid + above;
        if (line.status == "started") {
            begin(line, key, above);
            return;
        }
        const std::uint32_t id = ids_.at(key);
        if (line.status.empty()) {
            if (line.message != "in " + std::to_string(id)) {
                throw std::runtime_error("in the wrong action: " + text);
            }
            nodes_[id].messages += 1;
            return;
        }
        const auto inside = nodes_[id].messages + nodes_[id].children;
        if (line.children != inside || number != inside + 2) {
            throw std::runtime_error("children are missing: " + text);
        }
        nodes_[id].outcome = line.outcome.empty() ? line.status.front() : line.outcome.front();
        if (nodes_[id].outcome == 'f' &&
            line.exception.find("random_failure") == std::string::npos &&
            line.exception != "chance") {
            throw std::runtime_error("another exception: " + text);
        }
    }

    [[nodiscard]] const std::vector<node>& nodes() const { return nodes_; }

  private:
    void begin(const action_line& line, const std::string& key, const std::string& place) {
        const auto id = static_cast<std::uint32_t>(std::stoul(line.type));
        ids_.emplace(key, id);
        if (!place.empty()) {
            const std::size_t comma = place.rfind(',');
            const std::string above = comma == place.npos ? "" : place.substr(0, comma);
            nodes_[id].parent = ids_.at(line.uuid + above);
            nodes_[nodes_[id].parent].children += 1;
        }
    }

    std::vector<node> nodes_;
    std::unordered_map<std::string, std::uint32_t> ids_;
};

} // namespace sapwood::test
