// A loop device for a file, for tests that mount one.
#pragma once

#include <string>

namespace sapwood::test {

/// The path of a loop device for the file `image`, which goes with its last user; `device` is it.
/// Empty, with the reason in `why_not`, where there is none.
[[nodiscard]] std::string attach_loop(const std::string& image, int& device, std::string& why_not);

} // namespace sapwood::test
