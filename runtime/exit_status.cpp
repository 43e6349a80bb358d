#include <sapwood/exit_status.hpp>
#include <sapwood/fmt_library.hpp>

#include <cstring>

namespace sapwood {

std::string exit_status::to_string() const {
    if (has_exited()) {
        return fmt::format("exited with code {}", code_);
    }
    const char* const name = ::sigdescr_np(signal_);
    return fmt::format("killed by signal {} ({}){}", signal_,
                       name != nullptr ? name : "a real-time signal",
                       dumped_core_ ? ", core dumped" : "");
}

} // namespace sapwood
