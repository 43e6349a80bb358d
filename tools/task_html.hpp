// task_html: the trees of tasks as one page of HTML that needs nothing else, not even a script:
// each action can be folded, and has its span on the time line of its task beside it. Whatever a
// value says, it is text there. One thread.
#pragma once

#include "line_printer.hpp"
#include "task_text.hpp"
#include "task_view.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

class task_html final : public task_view {
  public:
    /// Borrows `output`, which is flushed where it has become large. Colour and lines are not used.
    task_html(const task_text_options& options, tool_output& output);

    /// What stands before the first task, and behind the last one. `title` is shown.
    void begin_page(std::string_view title);
    void end_page(std::string_view summary);

    [[nodiscard]] bool wants_name() const noexcept override { return true; }

    void begin_task(const action_task& task, const task_state& state,
                    std::string_view name) override;
    void begin_action(const shown_action& action) override;
    void show(const shown_record& record) override;
    void note(std::string_view text, bool is_last) override;
    void end_action() override;
    void end_task() override;

  private:
    void put_text(std::string_view text);
    void put_shown(std::string_view text);
    void put_known(std::string_view text);
    void put_level(std::span<const std::uint32_t> level);
    void put_head(const shown_record& record);
    void put_outcome(action_record::role is);
    void put_span(std::int64_t begin, std::int64_t end, std::string_view kind);
    void put_fields(const std::vector<record_field>& fields);

    task_text_options options_;
    tool_output& output_;
    log_buffer& to_;
    time_printer times_;
    std::string escaped_;
    /// Of the task.
    std::int64_t first_ns_ = 0;
    std::int64_t span_ns_ = 0;
    std::size_t depth_ = 0;
    std::size_t opened_ = 0;
};

} // namespace sapwood::tools
