#include "support/loop_device.hpp"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace sapwood::test {

std::string attach_loop(const std::string& image, int& device, std::string& why_not) {
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const int file = ::open(image.c_str(), O_RDWR | O_CLOEXEC);
    std::string path;
    // Somebody else may be as quick to take a free one.
    for (int attempt = 0; control >= 0 && file >= 0 && attempt < 10 && path.empty(); ++attempt) {
        const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
        const std::string candidate = "/dev/loop" + std::to_string(number);
        device = ::open(candidate.c_str(), O_RDWR | O_CLOEXEC);
        loop_config config{};
        config.fd = static_cast<std::uint32_t>(file);
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        if (device >= 0 && ::ioctl(device, LOOP_CONFIGURE, &config) == 0) {
            path = candidate;
        } else if (device >= 0) {
            ::close(device);
        }
    }
    if (path.empty()) {
        why_not = std::string("no loop device can be had: ") + std::strerror(errno);
    }
    ::close(file);
    ::close(control);
    return path;
}

} // namespace sapwood::test
