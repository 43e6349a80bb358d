// What a file's operations fail for and may succeed at a moment later, by nobody's doing or by that
// of somebody who has no need to know of the log: space, descriptors, a segment in a bad file's
// place. Any thread.
#pragma once

#include <cerrno>
#include <system_error>

namespace sapwood::detail {

[[nodiscard]] inline bool may_pass_for_file(std::error_code why) noexcept {
    for (const std::errc each :
         {std::errc::not_enough_memory, std::errc::no_space_on_device,
          std::errc::too_many_files_open, std::errc::too_many_files_open_in_system,
          std::errc::resource_unavailable_try_again, std::errc::interrupted,
          std::errc::device_or_resource_busy, std::errc::io_error}) {
        if (why == each) {
            return true;
        }
    }
    return why == std::error_code(EDQUOT, std::generic_category()) ||
           why == std::error_code(EDQUOT, std::system_category());
}

} // namespace sapwood::detail
