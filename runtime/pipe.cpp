#include <sapwood/pipe.hpp>

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace sapwood {

pipe pipe::make() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw std::system_error(errno, std::generic_category(), "cannot make a pipe");
    }
    return {.reader = file(ends[0]), .writer = file(ends[1])};
}

} // namespace sapwood
