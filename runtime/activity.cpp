#include <sapwood/activity.hpp>

namespace sapwood::detail {

constinit thread_local activity* thread_activity = nullptr;

} // namespace sapwood::detail
