// Whatever stands in a log of actions: its trees are made within its bytes and so much memory, each
// record is shown once, and what is shown does nothing to who reads it.
#include "fuzz/target.hpp"

#include "tools/action_forest.hpp"
#include "tools/log_files.hpp"
#include "tools/task_html.hpp"
#include "tools/task_text.hpp"

#include <sapwood/escape.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace {

using namespace sapwood::tools;

void require(bool holds, const char* what) {
    sapwood::test::require_none(holds ? "" : what);
}

/// Lines of UTF-8 that do nothing.
bool is_harmless(std::string_view text) {
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        std::string escaped;
        sapwood::escape(line, escaped);
        std::erase(escaped, '\\');
        std::string shown(line);
        std::erase(shown, '\\');
        if (escaped != shown) {
            return false;
        }
        text.remove_prefix(std::min(line.size() + 1, text.size()));
    }
    return true;
}

/// Counts what it is told, and that it is told in order.
class counting_view final : public task_view {
  public:
    std::size_t shown = 0;
    std::size_t depth = 0;

    void begin_task(const action_task&, const task_state&, std::string_view) override { depth = 0; }

    void begin_action(const shown_action& action) override {
        ++depth;
        shown += action.has_start ? 1 : 0;
    }

    void show(const shown_record&) override { ++shown; }

    void note(std::string_view, bool) override {}

    void end_action() override { require(depth-- > 0, "an action that ends has begun"); }

    void end_task() override { require(depth == 0, "a task ends when its actions have"); }
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string padded =
        std::string(sapwood::test::text_of(data, size)) + std::string(line_padding, '\0');
    std::string_view lines = std::string_view(padded).substr(0, size);
    tool_output output;
    task_text text({.value_bytes_max = 20}, output);
    task_html page({.value_bytes_max = 0}, output);
    counting_view count;
    action_reader reader;
    action_reader rereader;
    std::uint64_t records = 0;
    const auto show = [&](action_task& task, const task_state& state) {
        records += task.records();
        walk_task(task, state, rereader, count);
        walk_task(task, state, rereader, text);
        require(is_harmless(output.buffer().text()), "a tree does nothing to who reads it");
        output.buffer().cut(0);
        walk_task(task, state, rereader, page);
        require(is_harmless(output.buffer().text()), "nor does its page");
        output.buffer().cut(0);
    };
    action_forest forest(size % 2 == 0 ? 1u << 20 : 5000, show);
    while (!lines.empty()) {
        if (reader.read(take_line(lines)) == action_reader::outcome::record) {
            forest.add(reader.record());
        }
    }
    forest.finish();
    require(records == forest.records(), "no record is lost");
    require(count.shown == records, "each record is shown once");
    return 0;
}
