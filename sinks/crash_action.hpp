// What a record says of its place in a tree of actions, as a signal handler writes it. One thread.
#pragma once

#include "crash_text.hpp"

#include <sapwood/log_action_view.hpp>

namespace sapwood::detail {

/// `,"task_uuid":...`: members of a line of JSON, as json_layout has them but for message_type;
/// nothing where there is no room for all.
void put_crash_action_members(const log_record& record, crash_text& to) noexcept;

} // namespace sapwood::detail
