// inherited_sockets: sockets that somebody else has made, and passed on to this process when he
// started it: systemd's socket activation (sd_listen_fds(3)). They listen before the process does,
// and while it is restarted, so nobody is refused meanwhile. Owns those that nobody has taken. Loop
// thread only.
#pragma once

#include <sapwood/endpoint.hpp>
#include <sapwood/owned_fd.hpp>

#include <string>
#include <vector>

namespace sapwood::collector {

struct listen_options;

class inherited_sockets {
  public:
    /// None.
    inherited_sockets() = default;

    /// What LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES tell, which are taken out of the environment:
    /// they are not our children's. Throws std::system_error where one of them is no socket.
    [[nodiscard]] static inherited_sockets from_environment();

    /// Has a listener use one: the next one of its kind that has the name that it asks for, or the
    /// one that is where it would listen, if there is any. `options.at` is where that is then.
    /// Throws std::runtime_error where there is none of the name, or only of the other kind.
    void claim(listen_options& options);

    /// The one that was claimed; nothing where none was.
    [[nodiscard]] owned_fd take(const listen_options& options);

    /// Throws std::runtime_error that names one that nobody has claimed: whoever connects to it
    /// would wait for ever.
    void require_all_claimed() const;

  private:
    struct entry {
        owned_fd socket;
        std::string name;
        endpoint at;
        bool is_stream = false;
        bool is_claimed = false;
    };

    std::vector<entry> all_;
};

} // namespace sapwood::collector
