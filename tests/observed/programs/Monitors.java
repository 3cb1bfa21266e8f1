// Threads of a JVM that wait: two for each other's monitors, one at an Object, one asleep, one at a lock of
// java.util.concurrent, one in a blocking read. Ends with its standard input.
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.ReentrantLock;

public class Monitors {
    static void start(String name, Runnable body) {
        Thread thread = new Thread(body, name);
        thread.setDaemon(true);
        thread.start();
    }

    static void both(Object first, Object second, CountDownLatch held) {
        synchronized (first) {
            held.countDown();
            try {
                held.await();
            } catch (InterruptedException ended) {
                return;
            }
            synchronized (second) {
                throw new IllegalStateException("no deadlock");
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Object alpha = new Object(), beta = new Object(), gamma = new Object();
        CountDownLatch held = new CountDownLatch(2);
        ReentrantLock lock = new ReentrantLock();
        lock.lock();
        start("monitor-a", () -> both(alpha, beta, held));
        start("monitor-b", () -> both(beta, alpha, held));
        start("object-wait", () -> {
            synchronized (gamma) {
                try {
                    gamma.wait();
                } catch (InterruptedException ended) {
                }
            }
        });
        start("asleep", () -> {
            try {
                Thread.sleep(3_600_000);
            } catch (InterruptedException ended) {
            }
        });
        start("reentrant", lock::lock);
        held.await();
        System.out.println("ready");
        while (System.in.read() >= 0) {
        }
        Runtime.getRuntime().halt(0);
    }
}
