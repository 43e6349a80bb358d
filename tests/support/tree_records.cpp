#include "support/tree_records.hpp"

#include <fmt/format.h>

namespace sapwood::test {

namespace {

/// Draws while it makes the records.
class artist {
  public:
    artist(const std::string& task, std::mt19937& random) : task_(task), random_(random) {
        made_.text = task + "\n";
        draw_action("", "", true, 0);
        made_.text += "\n";
    }

    [[nodiscard]] drawn take() { return std::move(made_); }

  private:
    [[nodiscard]] bool happens(unsigned of_hundred) { return random_() % 100 < of_hundred; }

    [[nodiscard]] static std::string moment(int ms) {
        return fmt::format("2026-11-27 04:00:{:02}.{:03}", ms / 1000, ms % 1000);
    }

    void record(const std::string& level, const std::string& members) {
        made_.records.push_back(tree_record(task_, level.substr(1), ms_, members));
    }

    /// `level` is `,2,1` of the action itself.
    int draw_action(const std::string& level, const std::string& prefix, bool is_last, int depth) {
        const std::string name = fmt::format("act{}", random_() % 10);
        const std::string slashes = slashed(level);
        const int begun = ms_;
        const bool fails = happens(20);
        record(level + ",1",
               fmt::format(R"("action_type":"{}","action_status":"started","at":{})", name, begun));
        ++ms_;
        // What stands on the first line is known when all is over.
        const std::size_t head = made_.text.size();
        const std::string inner = prefix + (is_last ? "    " : "│   ");
        made_.text += fmt::format("{}├── at: {}\n", inner, begun);
        int number = 2;
        for (; depth < 6 && happens(number == 2 ? 90 : 70); ++number) {
            const std::string place = fmt::format("{},{}", level, number);
            if (happens(40)) {
                draw_action(place, inner, false, depth + 1);
            } else {
                record(place, R"("message_type":"note")");
                made_.text +=
                    fmt::format("{}├── note{} {}\n", inner, slashed(place), moment(ms_++));
            }
        }
        record(fmt::format("{},{}", level, number),
               fmt::format(R"("action_type":"{}","action_status":"{}")", name,
                           fails ? "failed" : "succeeded"));
        const std::string outcome = fails ? "✗ failed" : "succeeded";
        made_.text += fmt::format("{}└── {}{}/{} ⇒ {} {}\n", inner, name, slashes, number, outcome,
                                  moment(ms_));
        made_.text.insert(head, fmt::format("{}{}{}{}/1 ⇒ started {} ⧖ {}{}\n", prefix,
                                            is_last ? "└── " : "├── ", name, slashes, moment(begun),
                                            span(ms_ - begun), fails ? " ✗ failed" : ""));
        return ++ms_;
    }

    [[nodiscard]] static std::string span(int ms) {
        return ms < 1000 ? fmt::format("{}.0ms", ms)
                         : fmt::format("{}.{:03}s", ms / 1000, ms % 1000);
    }

    [[nodiscard]] static std::string slashed(std::string level) {
        for (char& c : level) {
            c = c == ',' ? '/' : c;
        }
        return level;
    }

    std::string task_;
    std::mt19937& random_;
    drawn made_;
    int ms_ = 0;
};

} // namespace

std::string tree_record(std::string_view task, std::string_view level, int ms,
                        std::string_view members) {
    return fmt::format(R"({{"task_uuid":"{}","task_level":[{}],"timestamp":{}.{:03},{}}})"
                       "\n",
                       task, level, 1'795'752'000 + ms / 1000, ms % 1000, members);
}

drawn drawn_tree(const std::string& task, std::mt19937& random) {
    return artist(task, random).take();
}

} // namespace sapwood::test
