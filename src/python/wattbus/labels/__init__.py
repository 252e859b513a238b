"""Labels: profiles, grades, and the measurements that they are made of."""
