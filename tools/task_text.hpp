// task_text: the tree of a task as lines of text, as people know it from eliot-tree. What a value
// says can do nothing to a terminal, and looks like no line of the tree: the lines of a value of
// several stand behind a mark.
#pragma once

#include "line_printer.hpp"
#include "task_view.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

struct task_text_options {
    bool colour = false;
    /// Lines are drawn with ASCII only.
    bool ascii = false;
    /// So much of a value is shown; 0 is all.
    std::size_t value_bytes_max = 2000;
    /// What has taken so long is emphasized.
    std::optional<std::int64_t> slow_ns;
};

/// Times as `2026-11-21 22:39:56.123`; remembers the last second, which many share.
class time_printer {
  public:
    void append(std::int64_t ns, log_buffer& to);

  private:
    std::int64_t second_ = -1;
    std::string text_;
};

/// A place as `/2/3/1`; of a long one the middle is left out, for which `left_out` stands.
void append_level(std::span<const std::uint32_t> level, std::string_view left_out, log_buffer& to);

class task_text final : public task_view {
  public:
    /// Borrows `output`, which is flushed where it has become large.
    task_text(const task_text_options& options, tool_output& output);

    void begin_task(const action_task& task, const task_state& state,
                    std::string_view name) override;
    void begin_action(const shown_action& action) override;
    void show(const shown_record& record) override;
    void note(std::string_view text, bool is_last) override;
    void end_action() override;
    void end_task() override;

  private:
    enum class paint : std::uint8_t { plain, faint, bold, key, good, bad, odd };
    struct signs;

    void put(paint how, std::string_view text);
    void begin_line(bool is_last);
    void push(bool is_last);
    void pop() noexcept;
    void put_id(std::string_view id);
    void put_name(std::string_view type);
    void put_level(std::span<const std::uint32_t> level);
    void put_time(std::optional<std::int64_t> ns);
    void put_outcome(action_record::role is);
    void put_fields(const std::vector<record_field>& fields, bool has_more);
    void put_field(const record_field& field, bool is_last);
    void put_value(const record_field& field, bool is_last);

    task_text_options options_;
    const signs& signs_;
    tool_output& output_;
    log_buffer& to_;
    time_printer times_;
    /// What stands before every line, and how long it was one step, two steps ... before.
    std::string prefix_;
    std::vector<std::size_t> steps_;
    std::vector<bool> are_last_;
};

} // namespace sapwood::tools
